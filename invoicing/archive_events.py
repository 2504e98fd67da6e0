"""Which events may leave the store: those that are billed, or never will be, and whose usage is added up.

An archive is refused with the reason while any event before its date is unbilled. Licence events stay: levels
are read from all history, and there are few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.archive import archive_events, take_snapshot
from ingest.archive_files import Progress
from ingest.archives import StoredArchive
from ingest.commit import IngestContext
from ingest.errors import BrokenState, Conflict, InvalidInput
from ingest.event import TIMESTAMP
from invoicing.period_classes import ClassedTime, classed_time
from rollup import stored_rows
from rollup.archived_time import is_level
from rollup.banded_meter import is_stored
from rollup.completeness import Part, account_for_events
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage


def archive_before(
    folder: Path,
    *,
    time_before: datetime,
    now: datetime,
    ledger: Engine,
    stored: StoredUsage,
    ingest: IngestContext,
    progress: Progress,
) -> StoredArchive:
    """Move all events before that instant into files in ``folder``, but those of licences and of meters whose
    usage is not kept.

    Their usage is added up first and proved by counting again, so every total and bill of that time stays.
    Raises InvalidInput (``time_to_come``, ``nothing_to_archive``, ``folder_not_empty``), Conflict
    (``not_billed_yet``, ``meter_not_added_up``, ``corrected_meanwhile``), BrokenState when what was added up
    differs from counting. Nothing was removed then.
    """
    if time_before > now:
        raise InvalidInput(
            f"{time_before.isoformat()} is still to come; archive time that is over.",
            reason_code="time_to_come",
        )
    snapshot = take_snapshot(ingest)
    time = classed_time(ledger, now=now)
    staying = {meter.event_type for meter in time.meters if is_level(meter) or not is_stored(meter)}
    report = account_for_events(
        ingest.store,
        periods=time.periods,
        classes=time.classes,
        meters=time.meters,
        time_from=None,
        time_to=time_before,
    )
    parts = [part for part in report.parts if part.type not in staying]
    _refuse_unbilled(parts)
    types = tuple(sorted({part.type for part in parts}))
    if not types:
        raise InvalidInput(
            "there are no events before that time, other than those of licences and of meters that count "
            "the highest of parts, which stay.",
            reason_code="nothing_to_archive",
        )
    calendar = _billed_calendar(time, time_before)
    stored.refresh(calendar=calendar, meters=[meter for meter in time.meters if not is_level(meter)])
    _refuse_not_kept(time, types, stored)
    proof = verify_stored_usage(stored, before=time_before)
    if proof.differences:
        raise BrokenState(
            f"{proof.differences} figures of usage differ from counting events; nothing was archived. "
            "`ratemill "
            "rollup verify` shows them."
        )
    return archive_events(
        folder,
        types=types,
        time_before=time_before,
        snapshot=snapshot,
        last_look=lambda: _catch_up(stored),
        now=now,
        ingest=ingest,
        progress=progress,
    )


def _catch_up(stored: StoredUsage) -> None:
    stored.catch_up()


def _refuse_unbilled(parts: Sequence[Part]) -> None:
    unbilled = [part for part in parts if part.outcome == "unbilled"]
    if unbilled:
        words = ", ".join(f"{one.event_count} of {one.type} ({one.reason_code})" for one in unbilled[:5])
        raise Conflict(
            f"{sum(one.event_count for one in unbilled)} events before that time are not billed: {words}. "
            "Bill "
            "them first, or choose an earlier time; `ratemill report completeness` shows all of them.",
            reason_code="not_billed_yet",
        )


def _billed_calendar(time: ClassedTime, time_before: datetime) -> pa.Table:
    """CALENDAR_SCHEMA of the billed periods that begin before that instant."""
    billed = [number for number, one in enumerate(time.classes) if one.outcome == "billed"]
    chosen = time.periods.filter(
        pc.and_(
            pc.is_in(time.periods["class_number"], value_set=pa.array(billed, pa.int32())),
            pc.less(time.periods["period_start"], pa.scalar(time_before, TIMESTAMP)),
        )
    )
    keys = pa.array(range(chosen.num_rows), pa.uint32())
    columns = [chosen[name] for name in ("subject", "period_start", "period_end")]
    return pa.table([keys, *columns], names=CALENDAR_SCHEMA.names).cast(CALENDAR_SCHEMA)


def _refuse_not_kept(time: ClassedTime, types: Sequence[str], stored: StoredUsage) -> None:
    kept = set(stored_rows.read_meters(stored.store).values())
    missing = [meter.meter_id for meter in time.meters if meter.event_type in types and meter not in kept]
    if missing:
        raise Conflict(
            f"usage of meter {missing[0]!r} is not added up, because events of its type were archived "
            "before it was "
            "saved. Put them back first: `ratemill events restore FOLDER`.",
            reason_code="meter_not_added_up",
        )
