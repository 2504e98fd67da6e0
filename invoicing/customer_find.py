"""Finds the one customer somebody means: by key, external id, name, e-mail address or a contact.

The first of these that fits decides, exact before a part, and it must fit one customer alone: a bill for the
wrong one is worse than a question.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Connection, Engine, select

from ingest.errors import Conflict, NotFound
from invoicing.bulk import select_by_ids
from invoicing.customer import PARTY_ROLES, Customer
from invoicing.customer_tables import CUSTOMER_EXTERNAL_IDS
from invoicing.tables import CUSTOMERS

MatchedBy = Literal["customer_id", "external_id", "exact", "part"]
_NAMED_MAX: Final = 10
_BLOCK: Final = 5_000


@dataclass(frozen=True, slots=True)
class FoundCustomer:
    """matched_by: ``exact`` is a whole name, e-mail address, tax id or contact; ``part`` a part of one."""

    customer: Customer
    matched_by: MatchedBy


def find_customer(ledger: Engine, wanted: str) -> FoundCustomer:
    """The customer meant, in any case of letters. Raises NotFound, and Conflict when several fit."""
    folded = wanted.strip().casefold()
    if not folded:
        raise NotFound("nothing says which customer. Give a key, an external id, a name or a contact.")
    with ledger.connect() as connection:
        table = CUSTOMERS.c
        text = connection.execute(select(table.document).where(table.customer_id == wanted)).scalar()
        if text is not None:
            return FoundCustomer(_parse(text), "customer_id")
        found = _by_external_id(connection, wanted)
        if found:
            return FoundCustomer(_only(found, wanted), "external_id")
        exact: list[Customer] = []
        part: list[Customer] = []
        for document in _holding(connection, folded):
            texts = [each.casefold() for each in _texts(document)]
            if folded in texts:
                exact.append(Customer.model_validate(document))
            elif len(part) <= _NAMED_MAX and any(folded in each for each in texts):
                part.append(Customer.model_validate(document))
    if exact:
        return FoundCustomer(_only(exact, wanted), "exact")
    if part:
        return FoundCustomer(_only(part, wanted), "part")
    raise NotFound(
        f"no customer has {wanted!r} as its key, external id, name, e-mail address, tax id or contact, nor "
        "as a part of one. `ratemill customer list --search TEXT` looks for a shorter one."
    )


def _by_external_id(connection: Connection, wanted: str) -> list[Customer]:
    table = CUSTOMER_EXTERNAL_IDS.c
    ids = connection.execute(select(table.customer_id).where(table.external_id == wanted).distinct())
    named = sorted(ids.scalars())
    rows = select_by_ids(connection, select(CUSTOMERS.c.document), CUSTOMERS.c.customer_id, named)
    return [_parse(row[0]) for row in rows]


def _holding(connection: Connection, folded: str) -> Iterator[dict[str, Any]]:
    """The documents whose text holds it, by key. Not in SQL: SQLite knows upper and lower case of ASCII
    only. The text is looked at before it is parsed, because nearly none holds it."""
    written = orjson.dumps(folded).decode()[1:-1]  # as it stands inside a JSON text
    table, last = CUSTOMERS.c, ""
    while True:
        statement = select(table.customer_id, table.document).where(table.customer_id > last)
        rows = connection.execute(statement.order_by(table.customer_id).limit(_BLOCK)).all()
        for row in rows:
            if written in row.document.casefold():
                yield orjson.loads(row.document)
        if len(rows) < _BLOCK:
            return
        last = rows[-1].customer_id


def _texts(document: dict[str, Any]) -> Iterator[str]:
    for holder in (document, *(document.get(role) or {} for role in PARTY_ROLES)):
        for name in ("customer_id", "name", "legal_name", "email", "tax_id"):
            yield str(holder.get(name) or "")
    yield from map(str, document.get("external_ids", {}).values())


def _only(found: list[Customer], wanted: str) -> Customer:
    if len(found) == 1:
        return found[0]
    named = ", ".join(f"{each.customer_id} ({each.name})" for each in found[:_NAMED_MAX])
    more = " and more" if len(found) > _NAMED_MAX else ""
    raise Conflict(
        f"{wanted!r} fits several customers: {named}{more}. Ask for one of them by its key.",
        reason_code="customer_ambiguous",
    )


def _parse(text: str) -> Customer:
    return Customer.model_validate(orjson.loads(text))
