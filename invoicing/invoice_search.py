"""Finds invoices by what people have at hand: a number, words on them, a part of a customer's name."""

from __future__ import annotations

from typing import Final

import orjson
from sqlalchemy import ColumnElement, Engine, and_, func, select, union

from ingest.errors import InvalidInput
from invoicing.number import split_number
from invoicing.search_index import caught_up, places_of
from invoicing.search_tables import SEARCHED_DOCUMENTS
from invoicing.tables import CUSTOMERS, INVOICES

_CUSTOMERS_MAX: Final = 1_000
_DOCUMENTS_MAX: Final = 50_000
"""All that fit are sorted and added up, so there is an end to how many may."""


def found_by(ledger: Engine, words: str) -> ColumnElement[bool]:
    """The condition on INVOICES that ``words`` stand for: a printed number (``INV-2025-000001``), or else
    invoices that have all of the words on them (as ``invoicing/search_index.py`` says; only what is issued),
    and those of a customer whose id is this or whose name or legal name has it as a part, as they are now, in
    capitals or not.

    All go by an index of the invoices; of the customers, all are looked at. Raises InvalidInput for no word,
    and for words that fit more than 1,000 customers or 50,000 documents; Conflict for an index that lags.
    """
    wanted = words.strip()
    if not wanted:
        raise InvalidInput("search names nothing; give a number, words on the invoice or a customer.")
    split = split_number(wanted)
    if split is not None:
        numbered = and_(INVOICES.c.series == split[0], INVOICES.c.number == split[1])
        with ledger.connect() as connection:
            if connection.execute(select(INVOICES.c.invoice_id).where(numbered)).one_or_none() is not None:
                return numbered  # else it is somebody's order number that looks like one of ours
    of_customers = select(INVOICES.c.invoice_id).where(INVOICES.c.customer_id.in_(_customers(ledger, wanted)))
    caught_up(ledger)
    places = places_of(ledger, wanted).subquery()
    with ledger.connect() as connection:
        at_most = select(places.c.place).limit(_DOCUMENTS_MAX + 1).subquery()
        count = connection.execute(select(func.count()).select_from(at_most)).scalar_one()
    if count > _DOCUMENTS_MAX:
        raise InvalidInput(
            f"{wanted!r} is on more than {_DOCUMENTS_MAX:,} documents; give more words, or page through them "
            "with `ratemill document list --search`.",
            reason_code="search_too_wide",
        )
    with_words = select(SEARCHED_DOCUMENTS.c.document_id).join(
        places, places.c.place == SEARCHED_DOCUMENTS.c.place
    )
    return INVOICES.c.invoice_id.in_(union(of_customers, with_words))


def _customers(ledger: Engine, wanted: str) -> list[str]:
    as_json = orjson.dumps(wanted).decode()[1:-1]
    statement = select(CUSTOMERS.c.customer_id, CUSTOMERS.c.document).where(
        CUSTOMERS.c.document.icontains(as_json, autoescape=True)
    )
    found = []
    with ledger.connect() as connection:
        for customer_id, text in connection.execute(statement):
            # The words may stand in another field, an address: only ids and names count.
            document = orjson.loads(text)
            names = (document["name"], document.get("legal_name", ""))
            if customer_id == wanted or any(wanted.casefold() in name.casefold() for name in names):
                found.append(customer_id)
            if len(found) > _CUSTOMERS_MAX:
                raise InvalidInput(
                    f"{wanted!r} fits more than {_CUSTOMERS_MAX:,} customers; give more of the name.",
                    reason_code="search_too_wide",
                )
    return sorted(found)
