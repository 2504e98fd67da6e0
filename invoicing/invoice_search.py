"""Finds invoices by what people have at hand: a printed number, a customer's id, a part of its name."""

from __future__ import annotations

from typing import Final

import orjson
from sqlalchemy import ColumnElement, Engine, and_, select

from ingest.errors import InvalidInput
from invoicing.number import split_number
from invoicing.tables import CUSTOMERS, INVOICES

_CUSTOMERS_MAX: Final = 1_000


def found_by(ledger: Engine, words: str) -> ColumnElement[bool]:
    """The condition on INVOICES that ``words`` stand for: a printed number (``INV-2025-000001``), or else a
    customer's id or a part of its name or legal name as they are now, in capitals or not.

    Both go by an index of the invoices; of the customers, all are looked at. Raises InvalidInput for no word,
    and for words that fit more than 1,000 customers.
    """
    wanted = words.strip()
    if not wanted:
        raise InvalidInput("search names nothing; give a number, a customer's id or a part of its name.")
    split = split_number(wanted)
    if split is not None:
        return and_(INVOICES.c.series == split[0], INVOICES.c.number == split[1])
    return INVOICES.c.customer_id.in_(_customers(ledger, wanted))


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
