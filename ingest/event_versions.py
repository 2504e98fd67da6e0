"""The events that corrections name, as they are in force now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.in_force import ON_RECORD_SQL

ENDING_KINDS: Final = ("cancel", "withdraw")
_IDENTITY_COLUMN: Final = "identity FixedString(16)"


@dataclass(frozen=True, slots=True)
class EventVersion:
    """An event and its version in force; of a cancelled one, the last that was.

    event_id: the id it was first sent with. sequence, ingested_micros: of the version's own row.
    cancelled_by: id of the cancellation, None while the event counts.
    """

    type: str
    subject: str
    event_id: str
    micros: int
    value: Decimal | None
    properties: tuple[tuple[str, str], ...]
    sequence: int
    ingested_micros: int
    cancelled_by: str | None


@dataclass(frozen=True, slots=True)
class FoundVersions:
    """events: by identity, 16 bytes. corrections: of the identities that name a correction and no event,
    the id of the event it corrects."""

    events: Mapping[bytes, EventVersion]
    corrections: Mapping[bytes, str]


def find_versions(store: EventStore, identities: Iterable[bytes]) -> FoundVersions:
    """Look up events by their identity hash; what is not there is in neither mapping."""
    wanted = set(identities)
    last: dict[bytes, dict[str, Any]] = {}
    corrections: dict[bytes, str] = {}
    with store.scratch_table(_IDENTITY_COLUMN, _rows(wanted)) as names:
        for row in store.query(
            "SELECT event_identity, correction_identity, event_id, kind, correction_id "
            f"FROM superseded_events WHERE event_identity IN (SELECT identity FROM {names}) "
            f"OR correction_identity IN (SELECT identity FROM {names}) ORDER BY correction_sequence"
        ).to_pylist():
            corrections[row["correction_identity"]] = row["event_id"]
            if row["event_identity"] in wanted:
                last[row["event_identity"]] = row
    corrections = {identity: name for identity, name in corrections.items() if identity in wanted}
    # The version of a cancelled event matters to nobody; the original stands for it.
    amended = {
        row["correction_identity"]: identity for identity, row in last.items() if row["kind"] == "amend"
    }
    originals = wanted - corrections.keys() - set(amended.values())
    events = {}
    for identity, row in _find_rows(store, originals | amended.keys()).items():
        event_identity = amended.get(identity, identity)
        correction = last.get(event_identity)
        events[event_identity] = EventVersion(
            type=row["type"],
            subject=row["subject"],
            event_id=row["id"] if correction is None else correction["event_id"],
            micros=row["micros"],
            value=row["value"],
            properties=tuple(row["properties"]),
            sequence=row["sequence"],
            ingested_micros=row["ingested_micros"],
            cancelled_by=correction["correction_id"]
            if correction and correction["kind"] in ENDING_KINDS
            else None,
        )
    return FoundVersions(events, corrections)


def _find_rows(store: EventStore, identities: set[bytes]) -> dict[bytes, dict[str, Any]]:
    with store.scratch_table(_IDENTITY_COLUMN, _rows(identities)) as names:
        rows = store.query(
            "SELECT identity, id, toString(type) AS type, toString(subject) AS subject, "
            "toUnixTimestamp64Micro(time) AS micros, value, properties, sequence, "
            "toUnixTimestamp64Micro(ingested_at) AS ingested_micros "
            f"FROM events WHERE identity IN (SELECT identity FROM {names}) AND {ON_RECORD_SQL}"
        ).to_pylist()
    return {row["identity"]: row for row in rows}


def _rows(identities: Iterable[bytes]) -> pa.Table:
    return pa.table({"identity": pa.array(sorted(identities), pa.binary(16))})
