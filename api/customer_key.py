"""API keys that see one customer: what such a key may ask, checked before the route runs.

Everything is closed to it unless the route says how it is about a customer (``declared(..., sees=...)``).
What belongs to another customer is answered as what is not there: the key learns nothing of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from starlette.requests import Request

from api.tables import API_KEYS
from ingest.errors import Forbidden, Issue, NotFound
from invoicing.deletion import Reference, references_in
from invoicing.store import get_invoice
from invoicing.tables import CUSTOMERS
from rating.tables import CONTRACTS

Sees = Literal["customer", "contract", "issued_invoice", "issued_invoices"]
"""``customer``: {customer_id} of the path. ``contract``: whose {contract_id} of the path is.
``issued_invoice``: whose {id_or_number} of the path is, once issued. ``issued_invoices``: a list, asked for
with ``customer_id`` and ``state=issued``."""

_NAMED_BY: Final = {"customer": "customer_id", "contract": "contract_id", "issued_invoice": "id_or_number"}


def check_own(ledger: Engine, customer_id: str, sees: Sees | None, request: Request) -> None:
    """Let a key of ``customer_id`` pass only for what is that customer's.

    Raises Forbidden for a route that is not about one customer, NotFound for what is not this customer's.
    """
    if sees is None:
        raise Forbidden(
            f"this API key sees customer {customer_id!r} only, and this call is not about one "
            f"customer. Ask GET /v1/customers/{customer_id}/now, or use a key that sees everything.",
            reason_code="customer_key",
        )
    if sees == "issued_invoices":
        _check_list(customer_id, request)
        return
    named = request.path_params[_NAMED_BY[sees]]
    if _owner(ledger, sees, named) != customer_id:
        kind = sees.replace("_", " ")
        raise NotFound(f"this API key sees customer {customer_id!r} only, which has no {kind} {named!r}.")


def _check_list(customer_id: str, request: Request) -> None:
    wanted = {"customer_id": customer_id, "state": "issued"}
    # All values of a name: of a name given twice the route would read one of them only.
    if any(request.query_params.getlist(name) != [value] for name, value in wanted.items()):
        raise Forbidden(
            f"this API key sees customer {customer_id!r} only: ask with customer_id={customer_id} and "
            "state=issued.",
            reason_code="customer_key",
        )


def _owner(ledger: Engine, sees: Sees, named: str) -> str | None:
    if sees == "customer":
        return named
    if sees == "contract":
        with ledger.connect() as connection:
            query = sa.select(CONTRACTS.c.customer_id).where(CONTRACTS.c.contract_id == named)
            return connection.execute(query).scalar_one_or_none()
    try:
        summary = get_invoice(ledger, named).summary
    except NotFound:
        return None
    return summary.customer_id if summary.state == "issued" else None


def customer_key_issues(ledger: Engine, customer_id: str, scopes: Sequence[str]) -> list[Issue]:
    """What is wrong with a key for one customer: another scope than ``read``, or no such customer."""
    issues = []
    if set(scopes) - {"read"}:
        words = (
            f"A key for one customer cannot have {', '.join(scope for scope in scopes if scope != 'read')}."
        )
        issues.append(Issue("customer_key_scope", "scopes", words, "the scope read alone."))
    with ledger.connect() as connection:
        known = connection.execute(
            sa.select(CUSTOMERS.c.customer_id).where(CUSTOMERS.c.customer_id == customer_id)
        )
        if known.one_or_none() is None:
            words = f"There is no customer {customer_id!r}."
            issues.append(Issue("unknown_customer", "customer_id", words, "a customer of `customer list`."))
    return issues


def keys_of_customer(connection: Connection, customer_id: str) -> Iterator[Reference]:
    """The keys that see this customer and are not revoked: another customer saved under its id later would
    be seen by them."""
    held = (API_KEYS.c.customer_id == customer_id) & API_KEYS.c.revoked_at.is_(None)
    instead = "`ratemill keys revoke KEY` ends such a key."
    yield from references_in(connection, "API keys", API_KEYS.c.key_id, held, instead)
