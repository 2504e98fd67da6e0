"""Answers about one rated line: its derivation, its invoice, and the events it was counted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from api.state import Ratemill
from ingest.clock import from_micros, to_micros
from ingest.errors import NotFound
from ingest.meter_store import get_meter
from invoicing.run_record import get_run
from invoicing.store import find_line
from rating.agreement_store import get_agreement
from rating.billed_spend import spent_towards
from rating.catalogue import get_plan_version
from rating.contract_store import load_contract_subjects, load_contracts
from rating.explain import Explanation, explain_line
from rating.money import minor_to_decimal
from rating.reprice import commitment_of_line
from rating.store import get_rated_line
from rating.term_commitment import TRUE_UP_KIND
from rollup.period import find_time_zone
from rollup.source import SOURCE_SCHEMA, SourceCursor, events_behind, next_cursor


@dataclass(frozen=True, slots=True)
class LineEvents:
    """One page of the events behind a line (SOURCE_SCHEMA), and what the line says of all of them.

    after: (time in microseconds, sequence) the next page starts behind, None on the last.
    """

    meter_id: str | None
    event_count: int
    quantity: Decimal
    events: pa.Table
    after: tuple[int, int] | None


def explain(state: Ratemill, line_id: str) -> tuple[Explanation, dict[str, Any] | None]:
    """The derivation of a line, and the invoice and position it stands on, if any.

    Raises NotFound, InvalidInput for what is no line id, and BrokenState when the plan version
    and agreement named on the line do not give its amount.
    """
    line = get_rated_line(state.event_store, line_id)
    plan = get_plan_version(state.ledger, line["plan_id"], line["plan_version"]).plan
    (zone,) = load_contracts(state.ledger, [line["contract_id"]])["time_zone"].to_pylist() or ["UTC"]
    agreement = get_agreement(state.ledger, line["agreement"])
    commitment = commitment_of_line(line, agreement) if line["charge_kind"] == TRUE_UP_KIND else None
    spent = [] if commitment is None else spent_towards(state.event_store, line, commitment)
    explanation = explain_line(
        line,
        plan,
        agreement=agreement,
        time_zone=find_time_zone(zone),
        spent=[(day, minor_to_decimal(amount, line["currency"])) for day, amount in spent],
    )
    try:
        place = find_line(state.ledger, line_id)
    except NotFound:
        return explanation, None
    return explanation, {"invoice_id": place.invoice_id, "position": place.position}


def events_of_line(state: Ratemill, line_id: str, *, limit: int, after: Sequence[Any] | None) -> LineEvents:
    """One page of the events a line was counted from, oldest first. A fee has none. Raises NotFound.

    As they were known when the line's billing run had finished: what came in or was corrected since is
    not what was billed. While the run is at work, as they are known now.
    """
    line = get_rated_line(state.event_store, line_id)
    if not line["meter_id"]:
        return LineEvents(None, line["event_count"], line["quantity"], SOURCE_SCHEMA.empty_table(), None)
    contract_id = line["contract_id"]
    finished_at = get_run(state.ledger, line["run_id"]).finished_at
    events = events_behind(
        state.event_store,
        meter=get_meter(state.ledger, line["meter_id"]),
        subjects=load_contract_subjects(state.ledger, [contract_id])["subject"].to_pylist(),
        period_start=line["period_start"],
        period_end=line["period_end"],
        dimensions=line["dimensions"],
        limit=limit + 1,
        after=None if after is None else SourceCursor(from_micros(int(after[0])), int(after[1])),
        known_at=None if finished_at is None else datetime.fromisoformat(finished_at),
    )
    page = events.slice(0, limit)
    last = next_cursor(page) if events.num_rows > limit else None
    return LineEvents(
        meter_id=line["meter_id"],
        event_count=line["event_count"],
        quantity=line["quantity"],
        events=page,
        after=None if last is None else (to_micros(last.time), last.sequence),
    )
