"""Goal: however many rows are written in bulk, all of them are there once and in order, or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, text

from ingest.ledger import PAGE_BYTES, bulk_transaction, default_ledger_url, open_ledger
from invoicing.bulk import insert_rows
from invoicing.tables import SAVED_DOCUMENTS


@pytest.fixture(scope="module")
def sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_ledger(default_ledger_url(Path(tmp_path_factory.mktemp("bulk"))))
    yield engine
    engine.dispose()


def rows_of(count: int, kind: str = "note") -> list[tuple[str, str, int, str, str, str]]:
    return [(kind, f"key-{n:05}", n, f'{{"n": "{n}"}}', f"hash-{n}", "2026-02-01") for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 47, 48, 49, 527, 528, 4_799, 4_800, 4_801, 10_175])
def test_every_number_of_rows_is_written_whole(sqlite_ledger: Engine, count: int) -> None:
    rows = rows_of(count)
    with bulk_transaction(sqlite_ledger) as connection:
        connection.execute(delete(SAVED_DOCUMENTS))
        insert_rows(connection, SAVED_DOCUMENTS, iter(rows))
    with sqlite_ledger.connect() as connection:
        found = connection.execute(select(SAVED_DOCUMENTS).order_by(SAVED_DOCUMENTS.c.version)).all()
    assert [tuple(row) for row in found] == rows


def test_a_key_twice_writes_nothing(sqlite_ledger: Engine) -> None:
    rows = [*rows_of(6_000, kind="twice"), rows_of(1, kind="twice")[0]]
    with pytest.raises(Exception, match="UNIQUE"), bulk_transaction(sqlite_ledger) as connection:
        insert_rows(connection, SAVED_DOCUMENTS, rows)
    with sqlite_ledger.connect() as connection:
        kept = connection.execute(select(SAVED_DOCUMENTS).where(SAVED_DOCUMENTS.c.kind == "twice")).first()
    assert kept is None


def test_a_new_ledger_has_large_pages_and_room_only_while_it_writes_in_bulk(sqlite_ledger: Engine) -> None:
    def pragma(name: str) -> int:
        return int(connection.execute(text(f"PRAGMA {name}")).scalar_one())

    with sqlite_ledger.connect() as connection:
        assert pragma("page_size") == PAGE_BYTES
        usual = pragma("cache_size")
    with bulk_transaction(sqlite_ledger) as connection:
        connection.execute(insert(SAVED_DOCUMENTS).values(rows_of(1, kind="room")[0]))
        assert pragma("cache_size") < usual  # in kB below zero
    with sqlite_ledger.connect() as connection:
        assert pragma("cache_size") == usual
