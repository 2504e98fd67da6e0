"""Answers about one rated line: its derivation, its invoice, and the events it was counted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from api.state import Ratemill
from ingest.clock import from_micros, to_micros
from ingest.errors import NotFound
from ingest.meter_store import get_meter
from invoicing.run_record import get_run
from invoicing.store import find_line
from invoicing.tables import contract_of
from rating.agreement_store import get_agreement
from rating.billed_spend import spent_towards
from rating.catalogue import get_plan_version
from rating.contract_store import load_contract_subjects, load_contracts
from rating.explain import Explanation, explain_line
from rating.price_plan import is_licence_in_advance
from rating.reprice import commitment_of_line
from rating.store import get_rated_line
from rating.term_commitment import TRUE_UP_CHARGE_ID
from rollup.period import find_time_zone
from rollup.source import SOURCE_LIMIT_MAX, SOURCE_SCHEMA, SourceCursor, events_behind, next_cursor

_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class LineEvents:
    """One page of the events behind a line (SOURCE_SCHEMA), and what the line says of all of them.

    after: (place of the meter, time in microseconds, sequence) the next page starts behind, None on the
    last. The events of a formula are those of its meters, one meter after the other.
    """

    meter_id: str | None
    event_count: int
    quantity: Decimal
    events: pa.Table
    after: tuple[int, int, int] | None


def explain(state: Ratemill, line_id: str) -> tuple[Explanation, dict[str, Any] | None]:
    """The derivation of a line, and the invoice and position it stands on, if any.

    Raises NotFound, InvalidInput for what is no line id, and BrokenState when the plan version
    and agreement named on the line do not give its amount.
    """
    found = get_rated_line(state.event_store, line_id)
    contract_id = contract_of(found["contract_id"])
    line = {**found, "contract_id": contract_id}
    plan = get_plan_version(state.ledger, line["plan_id"], line["plan_version"]).plan
    (zone,) = load_contracts(state.ledger, [contract_id])["time_zone"].to_pylist() or ["UTC"]
    agreement = get_agreement(state.ledger, line["agreement"])
    commitment = commitment_of_line(line, agreement) if line["charge_id"] == TRUE_UP_CHARGE_ID else None
    spent: Sequence[tuple[date, Decimal]] = ()
    if commitment is not None:
        spent = spent_towards(state.event_store, found, commitment, contract_id=contract_id, time_zone=zone)
    explanation = explain_line(
        line,
        plan,
        agreement=agreement,
        time_zone=find_time_zone(zone),
        spent=spent,
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
    meter_ids = _meters_of(state, line)
    finished_at = None if not meter_ids else get_run(state.ledger, line["run_id"]).finished_at
    first, *rest = after if after is not None else (0,)
    known_at = None if finished_at is None else datetime.fromisoformat(finished_at)
    subjects = load_contract_subjects(state.ledger, [line["contract_id"]])["subject"].to_pylist()
    counted_until = _counted_until(state, line, subjects, known_at)
    if counted_until <= line["period_start"]:
        meter_ids = ()
    pages: list[pa.Table] = []
    following, room = None, limit
    for place in range(int(first), len(meter_ids)):
        cursor = SourceCursor(from_micros(int(rest[0])), int(rest[1])) if rest else None
        rest = []
        events = events_behind(
            state.event_store,
            meter=get_meter(state.ledger, meter_ids[place]),
            subjects=subjects,
            period_start=line["period_start"],
            period_end=counted_until,
            dimensions=line["dimensions"],
            limit=room + 1,
            after=cursor,
            known_at=known_at,
        )
        pages.append(events.slice(0, room))
        if events.num_rows > room:
            last = next_cursor(pages[-1]) or SourceCursor(line["period_start"] - _INSTANT, 0)
            following = (place, to_micros(last.time), last.sequence)
            break
        room -= events.num_rows
    return LineEvents(
        meter_id=line["meter_id"] or None,
        event_count=line["event_count"],
        quantity=line["quantity"],
        events=pa.concat_tables(pages) if pages else SOURCE_SCHEMA.empty_table(),
        after=following,
    )


def _counted_until(
    state: Ratemill, line: Mapping[str, Any], subjects: Sequence[str], known_at: datetime | None
) -> datetime:
    """Up to where the events of the line's period count: to its end, but of a licence in advance only as far
    as it was known, which is behind the last of so many events."""
    end: datetime = line["period_end"]
    plan = get_plan_version(state.ledger, line["plan_id"], line["plan_version"]).plan
    charges = [one for one in plan.charges if one.charge_id == line["charge_id"]]
    if not any(map(is_licence_in_advance, charges)):
        return end
    if not line["event_count"]:
        start: datetime = line["period_start"]
        return start
    events = events_behind(
        state.event_store,
        meter=get_meter(state.ledger, line["meter_id"]),
        subjects=subjects,
        period_start=line["period_start"],
        period_end=end,
        dimensions=line["dimensions"],
        limit=min(line["event_count"], SOURCE_LIMIT_MAX),
        after=None,
        known_at=known_at,
    )
    last = next_cursor(events)
    return end if last is None or line["event_count"] > SOURCE_LIMIT_MAX else last.time + _INSTANT


def _meters_of(state: Ratemill, line: Mapping[str, Any]) -> Sequence[str]:
    """The meters the line's quantity comes from: one, those of a formula in its order, none of a fee."""
    if line["meter_id"]:
        return [line["meter_id"]]
    plan = get_plan_version(state.ledger, line["plan_id"], line["plan_version"]).plan
    return next((charge.meter_ids() for charge in plan.charges if charge.charge_id == line["charge_id"]), ())
