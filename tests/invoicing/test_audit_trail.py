"""Goal: every change is kept with who, when, before, after and why, and none can be altered unseen."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal

import orjson
import pytest
from sqlalchemy import Connection, Engine, select

from ingest.errors import BrokenState
from ingest.ledger import ledger_transaction
from invoicing.audit_tables import AUDIT_CHAIN, AUDIT_ENTRIES
from invoicing.audit_trail import AuditFilter, entry_hash, list_entries, record_change
from tests.invoicing.world import at

NOON = at("2025-02-15T12:00")


def change(connection: Connection, number: int, **more: object) -> None:
    values = {
        "actor": "finance",
        "action": "issued",
        "object_kind": "invoice",
        "object_id": f"i{number}",
        "before": {"state": "draft"},
        "after": {"state": "issued", "total": Decimal("1.50"), "on": date(2025, 2, 15)},
        "reason": "",
        "now": NOON,
        **more,
    }
    record_change(connection, **values)  # type: ignore[arg-type]


def chain_is_whole(ledger: Engine) -> int:
    """Hashes every entry again; how many there are."""
    head = ""
    with ledger.connect() as connection:
        rows = connection.execute(select(AUDIT_ENTRIES).order_by(AUDIT_ENTRIES.c.sequence)).all()
        end = connection.execute(select(AUDIT_CHAIN)).one()
    for row in rows:
        head = entry_hash(head, tuple(row)[:-1])
        assert row.entry_hash == head
    assert (end.last_sequence, end.entry_hash) == (len(rows), head)
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    return len(rows)


@pytest.mark.requirement("AUD-01")
def test_a_change_is_kept_with_all_there_is_to_say(any_ledger: Engine) -> None:
    with ledger_transaction(any_ledger) as connection:
        change(connection, 1)
        change(connection, 2, before=None, actor="system", reason="the run of February")
    newest, first = list_entries(any_ledger, chosen=AuditFilter(), limit=10)
    assert (newest.sequence, newest.actor, newest.before, newest.reason) == (
        2,
        "system",
        None,
        "the run of February",
    )
    assert first.occurred_at == "2025-02-15T12:00:00+00:00"
    assert first.to_dict()["after"] == {"on": "2025-02-15", "state": "issued", "total": "1.5"}
    assert first.after == orjson.dumps(first.to_dict()["after"], option=orjson.OPT_SORT_KEYS).decode()
    assert chain_is_whole(any_ledger) == 2


def test_what_is_rolled_back_was_not_changed(any_ledger: Engine) -> None:
    def fail() -> None:
        with ledger_transaction(any_ledger) as connection:
            change(connection, 1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert chain_is_whole(any_ledger) == 0


def test_a_change_by_nobody_is_refused(any_ledger: Engine) -> None:
    with ledger_transaction(any_ledger) as connection, pytest.raises(BrokenState, match="without an actor"):
        change(connection, 1, actor="")


def test_entries_are_found_by_what_they_say(ledger: Engine) -> None:
    with ledger_transaction(ledger) as connection:
        for number in range(1, 6):
            change(connection, number, now=at(f"2025-02-{number:02}"), actor=f"key{number % 2}")

    def found(**chosen: object) -> list[int]:
        entries = list_entries(ledger, chosen=AuditFilter(**chosen), limit=10)  # type: ignore[arg-type]
        return [entry.sequence for entry in entries]

    assert found(actor="key1") == [5, 3, 1]
    assert found(object_id="i4") == [4]
    assert found(object_kind="contract") == []
    assert found(occurred_from=at("2025-02-02"), occurred_to=at("2025-02-04")) == [3, 2]
    page = list_entries(ledger, chosen=AuditFilter(), limit=2, before_sequence=4)
    assert [entry.sequence for entry in page] == [3, 2]


def test_writers_at_once_make_one_chain(any_ledger: Engine) -> None:
    def write(writer: int) -> None:
        for number in range(10):
            with ledger_transaction(any_ledger) as connection:
                change(connection, writer * 100 + number)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert chain_is_whole(any_ledger) == 40
