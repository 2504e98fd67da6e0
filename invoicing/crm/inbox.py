"""Takes in what CRMs tell of: durably first, then applied, and each change once.

The story of ``take_changes``: all changes of a delivery are written down in one transaction, then each is
applied in its own, and marked. A kill in between leaves it ``received``, and the next delivery (or ``retry``)
goes on: every step may be done again. An older change never takes the place of a later one, in whatever order
they arrive; two different ones of the same instant are a conflict: the first holds, the other is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Connection, Engine, Row, insert, select, update

from ingest.document import canonical_json, document_hash
from ingest.errors import Conflict, InvalidInput, Issue, NotFound, RatemillError
from ingest.ledger import ledger_transaction
from invoicing.crm.apply import Applying, apply_change
from invoicing.crm.change import KINDS, CrmChange, CrmKind
from invoicing.crm.lock import crm_lock
from invoicing.crm.references import WaitsFor
from invoicing.crm.tables import CRM_CONFLICTS, CRM_OBJECTS
from invoicing.customer_record import DIRECT

Outcome = Literal["applied", "waiting", "refused", "unchanged", "stale", "conflict"]
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "applied",
    "waiting",
    "refused",
    "unchanged",
    "stale",
    "conflict",
)
RECEIVED: Final = "received"
APPLIED: Final = "applied"
_TRIES_MAX: Final = 20
_O, _C = CRM_OBJECTS.c, CRM_CONFLICTS.c
_Place = tuple[CrmKind, str]


@dataclass(frozen=True, slots=True)
class TakenChange:
    """What became of one change. key: what the object is here; None while nothing was applied of it."""

    kind: CrmKind
    external_id: str
    outcome: Outcome
    key: str | None
    issues: tuple[Issue, ...]


def take_changes(
    ledger: Engine, system: str, changes: Sequence[CrmChange], *, applying: Applying
) -> list[TakenChange]:
    """Take in the changes of one system, and apply them and what waited for them. In the order given."""
    _check_system(system)
    with crm_lock(ledger, system):
        with ledger_transaction(ledger) as connection:
            noted = [_note(connection, system, change, applying) for change in changes]
        _apply_all(ledger, system, (RECEIVED,), applying)
    with ledger.connect() as connection:
        return [
            _taken(connection, system, change, outcome)
            for change, outcome in zip(changes, noted, strict=True)
        ]


def apply_waiting(
    ledger: Engine, system: str, *, applying: Applying, states: Sequence[str] = (RECEIVED,)
) -> int:
    """Apply what is in one of the states, and as long as something was applied also what waited for it.
    Returns how many were applied."""
    with crm_lock(ledger, system):
        return _apply_all(ledger, system, states, applying)


def _apply_all(ledger: Engine, system: str, states: Sequence[str], applying: Applying) -> int:
    done = 0
    wanted = tuple(states)
    while True:
        with ledger.connect() as connection:
            places = _places(connection, system, wanted)
        applied = sum(_apply(ledger, system, place, applying) for place in places)
        done += applied
        wanted = ("waiting",)  # what was refused is not asked twice
        if not applied:
            return done


def list_objects(
    ledger: Engine,
    *,
    system: str | None,
    kind: CrmKind | None,
    state: str | None,
    limit: int,
    after: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """The latest change of each object by system, kind and external id, those after the three given."""
    statement = select(CRM_OBJECTS).order_by(_O.system, _O.kind, _O.external_id).limit(limit)
    for column, value in ((_O.system, system), (_O.kind, kind), (_O.state, state)):
        statement = statement if value is None else statement.where(column == value)
    if after is not None:
        statement = statement.where(_behind(CRM_OBJECTS, after))
    with ledger.connect() as connection:
        return [_shown(dict(row)) for row in connection.execute(statement).mappings()]


def list_crm_conflicts(
    ledger: Engine, *, system: str | None, limit: int, after: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """Changes that contradict the one that holds, by system, kind, external id and hash."""
    statement = select(CRM_CONFLICTS).order_by(*CRM_CONFLICTS.primary_key.columns).limit(limit)
    if system is not None:
        statement = statement.where(_C.system == system)
    if after is not None:
        statement = statement.where(_behind(CRM_CONFLICTS, after))
    with ledger.connect() as connection:
        return [_shown(dict(row)) for row in connection.execute(statement).mappings()]


def _behind(table: Any, after: Sequence[Any]) -> Any:
    """Rows behind a position in the primary key, spelled out: databases differ on comparing rows."""
    columns = list(table.primary_key.columns)
    found, equal = columns[0] > after[0], columns[0] == after[0]
    for column, value in zip(columns[1:], after[1:], strict=True):
        found = found | (equal & (column > value))
        equal = equal & (column == value)
    return found


def _note(connection: Connection, system: str, change: CrmChange, applying: Applying) -> Outcome | None:
    """Write the change down; None: it is now the latest of its object, and to be applied."""
    row = _row(connection, system, (change.kind, change.external_id), lock=True)
    digest, changed_at = document_hash(change), change.changed_at.isoformat(timespec="microseconds")
    values = {
        "changed_at": changed_at,
        "document": canonical_json(change),
        "document_hash": digest,
        "received_at": applying.now.isoformat(),
    }
    own = {"system": system, "kind": change.kind, "external_id": change.external_id}
    fresh = {"state": RECEIVED, "issues": "[]", "actor": applying.actor}
    if row is None:
        connection.execute(insert(CRM_OBJECTS).values(**own, **values, **fresh, key=None, applied_at=None))
        return None
    if digest == row.document_hash:
        if row.state != APPLIED:  # what was in its way may be gone
            connection.execute(update(CRM_OBJECTS).where(_is(system, row)).values(state=RECEIVED))
        return "unchanged" if row.state == APPLIED else None
    if changed_at < row.changed_at:
        return "stale"
    if changed_at == row.changed_at:
        known = (_C.document_hash == digest) & (_C.system == system) & (_C.kind == change.kind)
        known &= _C.external_id == change.external_id
        if connection.execute(select(_C.system).where(known)).first() is None:
            connection.execute(insert(CRM_CONFLICTS).values(**own, **values))
        return "conflict"
    connection.execute(update(CRM_OBJECTS).where(_is(system, row)).values(**values, **fresh))
    return None


def _apply(ledger: Engine, system: str, place: _Place, applying: Applying) -> bool:
    """Apply the latest change of an object; whether it is in force now. A later one that came while this was
    at work is applied after it, so the later one is what stays."""
    for tries in range(_TRIES_MAX):
        with ledger.connect() as connection:
            row = _row(connection, system, place)
        # Overtaken, it may have undone what the later one did: that one is applied once more.
        if row is None or (row.state == APPLIED and not tries):
            return False
        change = CrmChange.model_validate(orjson.loads(row.document))
        values: dict[str, Any] = {"applied_at": applying.now.isoformat(), "state": APPLIED, "issues": "[]"}
        try:
            values["key"] = apply_change(ledger, system, change, key=row.key, applying=applying)
        except WaitsFor as error:
            values = {"state": "waiting", "issues": _written([_waits(*each) for each in error.missing])}
        except (InvalidInput, NotFound, Conflict) as error:
            values = {"state": "refused", "issues": _written(_issues_of(error))}
        with ledger_transaction(ledger) as connection:
            latest = _is(system, row) & (_O.document_hash == row.document_hash)
            marked = connection.execute(update(CRM_OBJECTS).where(latest).values(**values)).rowcount
        if marked:
            return bool(values["state"] == APPLIED)
    raise Conflict(
        f"{place[0]} {place[1]!r} of {system} changes faster than it can be applied; what came is kept, and "
        "`ratemill crm retry` applies it.",
        reason_code="crm_object_busy",
    )


def _places(connection: Connection, system: str, states: Sequence[str]) -> list[_Place]:
    statement = select(_O.kind, _O.external_id, _O.changed_at)
    rows = connection.execute(statement.where(_O.system == system, _O.state.in_(states))).all()
    order = {kind: number for number, kind in enumerate(KINDS)}
    rows = sorted(rows, key=lambda row: (order[row.kind], row.changed_at, row.external_id))
    return [(row.kind, row.external_id) for row in rows]


def _row(connection: Connection, system: str, place: _Place, *, lock: bool = False) -> Row[Any] | None:
    kind, external_id = place
    own = (_O.system == system) & (_O.kind == kind) & (_O.external_id == external_id)
    statement = select(CRM_OBJECTS).where(own)
    return connection.execute(statement.with_for_update() if lock else statement).one_or_none()


def _is(system: str, row: Row[Any]) -> Any:
    return (_O.system == system) & (_O.kind == row.kind) & (_O.external_id == row.external_id)


def _taken(connection: Connection, system: str, change: CrmChange, outcome: Outcome | None) -> TakenChange:
    row = _row(connection, system, (change.kind, change.external_id))
    if row is None:
        raise NotFound(f"{change.kind} {change.external_id!r} of {system} is not on record any more.")
    became: Outcome = outcome or ("stale" if row.document_hash != document_hash(change) else row.state)
    issues = tuple(
        Issue(each["reason_code"], each["pointer"], each["message"], each["expected"])
        for each in orjson.loads(row.issues)
    )
    said = issues if became in ("waiting", "refused") else ()
    if became == "conflict":
        said = (_conflict(change),)
    return TakenChange(change.kind, change.external_id, became, row.key, said)


def _conflict(change: CrmChange) -> Issue:
    return Issue(
        "crm_conflict",
        "changed_at",
        f"Another change of {change.kind} {change.external_id!r} at the same instant is on record and holds.",
        "a later changed_at, if this is the one that should.",
    )


def _waits(kind: CrmKind, external_id: str) -> Issue:
    return Issue(
        "crm_waits_for",
        "data",
        f"It names {kind} {external_id!r}, which was not told of, or not applied yet.",
        f"that {kind}; this one is applied as soon as it is.",
    )


def _issues_of(error: RatemillError) -> Sequence[Issue]:
    issues = tuple(getattr(error, "issues", ()))
    return issues or (Issue(error.reason_code, "", str(error), "what the message says."),)


def _written(issues: Sequence[Issue]) -> str:
    return orjson.dumps([issue.to_dict() for issue in issues]).decode()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    row["document"] = orjson.loads(row["document"])["data"]
    if "issues" in row:
        row["issues"] = orjson.loads(row["issues"])
    return row


def _check_system(system: str) -> None:
    if system == DIRECT or not system.strip() or len(system) > 128:
        raise InvalidInput(
            f"{system!r} cannot be the name of a system: 1 to 128 characters, and not {DIRECT!r}.",
            reason_code="bad_system",
        )
