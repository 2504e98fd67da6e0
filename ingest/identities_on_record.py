"""Where the identities on record stand: what every gate is derived from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ingest.archives import IN_EFFECT_SQL
from ingest.clickhouse import EventStore
from ingest.in_force import ON_RECORD_SQL


@dataclass(frozen=True, slots=True)
class IdentitySource:
    """Rows that hold an identity and a body hash each. identity, sequence: their columns; rows: FROM and
    WHERE."""

    identity: str
    sequence: str
    rows: str


IDENTITY_SOURCES: Final = (
    # A replacement whose correction never came on record was cut off by a crash: it does not count, and
    # the resend of its correction is new.
    IdentitySource("identity", "sequence", f"FROM events WHERE {ON_RECORD_SQL}"),
    IdentitySource(
        "correction_identity",
        "correction_sequence",
        "FROM superseded_events WHERE kind IN ('cancel', 'withdraw')",
    ),
    IdentitySource("identity", "sequence", f"FROM archived_events WHERE archive_id IN ({IN_EFFECT_SQL})"),
)
_COUNT_SQL: Final = " + ".join(f"(SELECT count() {source.rows})" for source in IDENTITY_SOURCES)
_FACTS_SQL: Final = (
    f"SELECT {_COUNT_SQL} AS identities, "
    f"greatest((SELECT max(sequence) FROM events), (SELECT max(sequence) {IDENTITY_SOURCES[2].rows}), "
    "(SELECT max(correction_sequence) FROM superseded_events)) AS last"
)


@dataclass(frozen=True, slots=True)
class OnRecord:
    """identities: how many are on record; one that is there twice counts twice. last: the highest number."""

    identities: int
    last: int


def read_on_record(store: EventStore) -> OnRecord:
    """What is on record now, with what is in the log."""
    facts = store.query(_FACTS_SQL).to_pylist()[0]
    return OnRecord(facts["identities"], facts["last"])
