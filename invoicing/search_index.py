"""The index of words of issued documents: kept in the ledger, derived from it, and never ahead of it.

Issuing does not touch it. Whoever searches first takes in what was issued since, by the register's numbers,
up to ``CATCH_UP_MAX`` documents; ``tick`` takes in more, ``ratemill document index`` all. An index that
is further behind answers nothing, because an answer that lacks documents looks like one that is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.bulk import insert_rows
from invoicing.document_texts import document_texts
from invoicing.search_tables import SEARCH_CURSORS, SEARCHED_DOCUMENTS
from invoicing.search_words import asked_words, document_words
from invoicing.tables import ISSUED_DOCUMENTS, NUMBER_SERIES

BLOCK: Final = 1_000
"""Documents taken in in one transaction; bounds the memory and how long others wait."""
CATCH_UP_MAX: Final = 5_000
"""Documents a search takes in by itself: about half a second on SQLite, a second on PostgreSQL."""
SCHEDULED_MAX: Final = 50_000
"""Documents a tick takes in: some seconds, in which no billing run can begin."""

_WORDS: Final = table("document_words", column("place", BigInteger), column("words"))

Step = Callable[[int, int], None]
"""Told (documents taken in, documents in all)."""


def documents_behind(connection: Connection) -> int:
    """How many numbers are issued and not taken in."""
    drawn = select(func.coalesce(func.sum(NUMBER_SERIES.c.next_number - 1), 0)).scalar_subquery()
    taken = select(func.coalesce(func.sum(SEARCH_CURSORS.c.next_number - 1), 0)).scalar_subquery()
    return int(connection.execute(select(drawn - taken)).scalar_one())


def catch_up(ledger: Engine, *, most: int | None = None, step: Step | None = None) -> int:
    """Take in what was issued since; returns how many documents. most: about how many at most; None: all.

    Any number of processes may do it at once: each document is taken in once.
    """
    with ledger.connect() as connection:
        behind = documents_behind(connection)
    taken = 0
    while behind and (most is None or taken < most):
        numbers = _take_block(ledger)
        if not numbers:
            break
        taken += numbers
        if step is not None:
            step(taken, max(behind, taken))
    return taken


def caught_up(ledger: Engine) -> None:
    """Make the index know everything issued by now. Raises Conflict (search_behind) when it is further behind
    than a search waits for."""
    if catch_up(ledger, most=CATCH_UP_MAX) < CATCH_UP_MAX:
        return  # nothing was left; what a run issues at this moment is issued after the question
    with ledger.connect() as connection:
        behind = documents_behind(connection)
    if behind:
        raise Conflict(
            f"{behind:,} issued documents are not in the search index yet. `ratemill document index` takes "
            "them in, as a server with its scheduler on does by itself; then search again.",
            reason_code="search_behind",
        )


def places_of(ledger: Engine, words: str) -> Select[Any]:
    """A statement for the places of documents that have each of the words on them; ``freig*`` stands for any
    word that begins so. Its one column is ``place``.

    Raises InvalidInput when there is no word in them.
    """
    wanted = asked_words(words)
    if not wanted:
        raise InvalidInput(
            f"{words!r} has no letter or digit to search by; give words that are on the document.",
            reason_code="search_without_words",
        )
    if ledger.dialect.name == "sqlite":
        asked = " ".join(f'"{word}"*' if begins else f'"{word}"' for word, begins in wanted)
        place: ColumnElement[int] = literal_column("document_words.rowid", BigInteger)
        return (
            select(place.label("place"))
            .select_from(text("document_words"))
            .where(text("document_words MATCH :asked").bindparams(asked=asked))
        )
    asked = " & ".join(f"'{word}':*" if begins else f"'{word}'" for word, begins in wanted)
    matches = _WORDS.c.words.op("@@")(cast(literal(asked), TSQUERY))
    return select(_WORDS.c.place).where(matches)


def _take_block(ledger: Engine) -> int:
    """Take in up to ``BLOCK`` numbers of one series; how many, 0 when nothing is left."""
    with ledger_transaction(ledger) as connection:
        if ledger.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE searched_documents IN EXCLUSIVE MODE"))
        found = _series_behind(connection)
        if found is None:
            return 0
        series, start, end = found
        rows = connection.execute(
            select(ISSUED_DOCUMENTS.c.document_id, ISSUED_DOCUMENTS.c.number)
            .where(
                ISSUED_DOCUMENTS.c.series == series,
                ISSUED_DOCUMENTS.c.number >= start,
                ISSUED_DOCUMENTS.c.number < end,
            )
            .order_by(ISSUED_DOCUMENTS.c.number)
            .limit(BLOCK)
        ).all()
        _index(connection, [row.document_id for row in rows])
        # Numbers that no document of the register has need no taking in.
        upto = rows[-1].number + 1 if len(rows) == BLOCK else end
        _move_cursor(connection, series, upto)
    return int(upto - start)


def _series_behind(connection: Connection) -> tuple[str, int, int] | None:
    """A series with numbers to take in: (series, the first of them, the number after the last)."""
    start = func.coalesce(SEARCH_CURSORS.c.next_number, 1)
    row = connection.execute(
        select(NUMBER_SERIES.c.series, start, NUMBER_SERIES.c.next_number)
        .outerjoin_from(NUMBER_SERIES, SEARCH_CURSORS, SEARCH_CURSORS.c.series == NUMBER_SERIES.c.series)
        .where(start < NUMBER_SERIES.c.next_number)
        .order_by(NUMBER_SERIES.c.series)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row[0], int(row[1]), int(row[2]))


def _index(connection: Connection, document_ids: Sequence[str]) -> None:
    texts = document_texts(connection, document_ids)
    words = [" ".join(document_words(orjson.loads(texts[document_id]))) for document_id in document_ids]
    last = connection.execute(select(func.coalesce(func.max(SEARCHED_DOCUMENTS.c.place), 0))).scalar_one()
    places = range(last + 1, last + 1 + len(document_ids))
    insert_rows(connection, SEARCHED_DOCUMENTS, zip(places, document_ids, strict=True))
    driver = connection.connection.driver_connection
    if driver is None:
        raise ValueError("the connection is closed")
    rows = list(zip(places, words, strict=True))
    if connection.dialect.name == "sqlite":
        driver.executemany("INSERT INTO document_words (rowid, words) VALUES (?, ?)", rows)
        return
    with driver.cursor() as cursor, cursor.copy("COPY document_words (place, words) FROM STDIN") as copy:
        for place, text_of_words in rows:
            # A tsvector as it is written, not to_tsvector: its parser would cut words its own way.
            copy.write_row((place, " ".join(f"'{word}'" for word in text_of_words.split())))


def _move_cursor(connection: Connection, series: str, next_number: int) -> None:
    connection.execute(
        text(
            "INSERT INTO search_cursors (series, next_number) VALUES (:series, :next_number) "
            "ON CONFLICT (series) DO UPDATE SET next_number = excluded.next_number"
        ),
        {"series": series, "next_number": next_number},
    )
