"""What a backfill does to each event, worked out before anything is written. Plain dictionaries.

An event of the file that is in force as it is stays untouched. One that is in force with other contents is
amended, one that was never on record is added, one that an earlier backfill withdrew comes back; what is in
force and not in the file is withdrawn. Every change is a row of ``superseded_events``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Final, Literal

from ingest.refusal import Problem, shown

ChangeKind = Literal["amend", "insert", "withdraw"]
_WIDE: Final = Context(prec=60)
_NOTHING: Final = (0, Decimal(0))


@dataclass(frozen=True, slots=True)
class Content:
    """What an event says. micros: its time. properties: sorted by name."""

    type: str
    subject: str
    micros: int
    value: Decimal | None
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A version of an event that is on record. sequence: of its row. ingested_micros: when it came in.
    event_id, identity: of the event as it was first sent."""

    source: str
    event_id: str
    identity: bytes
    content: Content
    sequence: int
    ingested_micros: int


@dataclass(frozen=True, slots=True)
class FileEvent:
    """An event of the file. body_hash: as the gate keeps it."""

    line: int
    source: str
    id: str
    identity: bytes
    body_hash: int
    content: Content


@dataclass(frozen=True, slots=True)
class Change:
    """One event that changes. before: the version that leaves; for ``insert`` None, and for an event that
    comes back the one that left last. after: what counts from now on, None for ``withdraw``. body_hash: of
    an inserted event."""

    kind: ChangeKind
    source: str
    event_id: str
    identity: bytes
    before: Standing | None
    after: Content | None
    body_hash: int = 0


@dataclass(frozen=True, slots=True)
class SubjectSum:
    """Events in force of one subject and the sum of their values, before and after."""

    subject: str
    count_before: int
    count_after: int
    value_before: Decimal
    value_after: Decimal


@dataclass(slots=True)
class BackfillPlan:
    """changes: in the order of the file, then what is withdrawn by arrival. problems: by line; nothing may
    be done when there are any."""

    changes: list[Change] = field(default_factory=list)
    kept: int = 0
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    sums: tuple[SubjectSum, ...] = ()

    def count(self, kind: ChangeKind) -> int:
        """How many changes are of that kind."""
        return sum(change.kind == kind for change in self.changes)


def plan_backfill(
    *,
    in_force: Sequence[Standing],
    sent: Sequence[FileEvent],
    known: frozenset[bytes],
    withdrawn: Mapping[bytes, Standing],
) -> BackfillPlan:
    """The changes that make ``sent`` be all that is in force where ``in_force`` was.

    known: identities of ``sent`` that are on record. withdrawn: of those, the last version of events that a
    backfill took out of force.
    """
    plan = BackfillPlan()
    standing = {one.identity: one for one in in_force}
    seen: dict[bytes, FileEvent] = {}
    after: list[Content] = []
    for event in sent:
        twin = seen.get(event.identity)
        if twin is not None:
            if twin.content != event.content:
                plan.problems.append((event.line, _twice(event, twin)))
            continue
        seen[event.identity] = event
        after.append(event.content)
        before = standing.get(event.identity)
        if before is None and event.identity in known:
            before = withdrawn.get(event.identity)
            if before is None:
                plan.problems.append((event.line, _elsewhere(event)))
                continue
        elif before is not None and before.content == event.content:
            plan.kept += 1
            continue
        if before is not None and before.content.subject != event.content.subject:
            plan.problems.append((event.line, _other_subject(before)))
            continue
        kind: ChangeKind = "insert" if before is None else "amend"
        change = Change(kind, event.source, event.id, event.identity, before, event.content, event.body_hash)
        plan.changes.append(change)
    leaving = sorted((one for one in in_force if one.identity not in seen), key=lambda one: one.sequence)
    plan.changes += [Change("withdraw", one.source, one.event_id, one.identity, one, None) for one in leaving]
    plan.sums = sums_of([one.content for one in in_force], after)
    return plan


def sums_of(before: Sequence[Content], after: Sequence[Content]) -> tuple[SubjectSum, ...]:
    """Counts and values by subject, sorted, of what was in force before and of what is after."""
    sides: list[dict[str, tuple[int, Decimal]]] = []
    for contents in (before, after):
        sums: dict[str, tuple[int, Decimal]] = {}
        for one in contents:
            count, value = sums.get(one.subject, _NOTHING)
            sums[one.subject] = count + 1, _WIDE.add(value, one.value or Decimal(0))
        sides.append(sums)
    names = sorted(sides[0].keys() | sides[1].keys())
    both = [(name, sides[0].get(name, _NOTHING), sides[1].get(name, _NOTHING)) for name in names]
    return tuple(SubjectSum(name, old[0], new[0], old[1], new[1]) for name, old, new in both)


def _twice(event: FileEvent, twin: FileEvent) -> Problem:
    message = f"{shown(event.id)} of {shown(event.source)} is on line {twin.line} with other contents."
    return Problem("event_twice", "id", message, "each event once.")


def _elsewhere(event: FileEvent) -> Problem:
    message = (
        f"{shown(event.id)} of {shown(event.source)} is on record and not in force where the "
        "backfill replaces: it lies outside, is cancelled, or is the id of a correction."
    )
    return Problem("identity_conflict", "id", message, "an id of its own, or a time that holds the event.")


def _other_subject(before: Standing) -> Problem:
    message = f"the event is on record for {shown(before.content.subject)}; a subject cannot be changed."
    return Problem("identity_conflict", "subject", message, "the same subject, or an id of its own.")
