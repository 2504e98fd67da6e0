"""What a CRM tells in tests of it: one story of a customer, a catalogue, a deal and a quote."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from invoicing.billable_read import ItemFilter, list_items
from invoicing.crm.adapter import crm_secret
from invoicing.crm.apply import Applying
from invoicing.crm.change import check_changes
from invoicing.crm.inbox import TakenChange, list_objects, take_changes
from invoicing.customer_store import get_customer
from invoicing.quote_store import get_quote
from invoicing.sales.catalogue import PRICE_LISTS, PRODUCTS, PROMOTIONS
from invoicing.tables import SAVED_DOCUMENTS
from rating.catalogue import save_price_plan
from rating.contract_store import get_contract
from tests.invoicing.fake_crms import CRMS, FakeCrm, Said
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, at

SECRET = "a secret of tests, long enough"
NOW = at("2026-05-02T10:00")
CRM = pytest.mark.parametrize("crm", CRMS, ids=lambda crm: type(crm).__name__)
TERMS = {"terms_version": "2026-01"}
ACCEPTED = {"acceptance": {"name": "Ada Miller", **TERMS}}
CONTRACT = {"plan_id": "gold", "start_date": "2026-05-01", "time_zone": "UTC"}


def item(name: str, price: str, billed: str = "recurring") -> dict[str, Any]:
    return {"name": name, "kind": "product", "billed": billed, "prices": {"EUR": price}}


def offer(**changes: Any) -> dict[str, Any]:
    return {
        "customer_external_id": "001-7",
        "opportunity_external_id": "006-1",
        "title": "Safe data",
        "contract": CONTRACT,
        **TERMS,
        "price_list_external_id": "b-1",
        "promotion_external_ids": ["c-1"],
        "outcomes": [
            {"outcome_id": "safe", "description": "No data is ever lost", "product_external_id": "p-3"}
        ],
        **changes,
    }


PLAIN_OFFER: dict[str, Any] = {
    "customer_id": "crm-001-7",
    "title": "Safe data",
    "contract": CONTRACT,
    **TERMS,
    "outcomes": [{"outcome_id": "safe", "description": "No data is lost", "product_id": "crm-p-3"}],
}
DEAL: dict[str, Any] = {"name": "Safe data", "stage": "Negotiation", "customer_external_id": "001-7"}
STORY: tuple[Said, ...] = (
    ("customer", "001-7", "2026-05-01T08:00:00+00:00", {"name": "Acme", "country": "DE"}),
    ("product", "p-1", "2026-05-01T08:00:00+00:00", item("Storage", "10.00")),
    ("product", "p-2", "2026-05-01T08:00:00+00:00", item("Setup", "99.00", "once")),
    (
        "product",
        "p-3",
        "2026-05-01T08:00:01+00:00",
        {
            "name": "Backup",
            "kind": "bundle",
            "components": [
                {"product_external_id": "p-1", "quantity": "3"},
                {"product_external_id": "p-2"},
            ],
        },
    ),
    (
        "price_list",
        "b-1",
        "2026-05-01T08:00:02+00:00",
        {
            "name": "Partners",
            "currency": "EUR",
            "entries": [{"product_external_id": "p-1", "price": "9.00"}],
        },
    ),
    (
        "promotion",
        "c-1",
        "2026-05-01T08:00:03+00:00",
        {"name": "Spring", "percent": "10", "product_external_ids": ["p-2"]},
    ),
    ("opportunity", "006-1", "2026-05-01T08:00:04+00:00", DEAL),
    ("quote", "q-9", "2026-05-01T08:00:05+00:00", offer()),
    ("customer", "001-7", "2026-05-01T09:00:00+00:00", {"name": "Acme GmbH", "country": "DE"}),
    (
        "opportunity",
        "006-1",
        "2026-05-01T09:30:00+00:00",
        {**DEAL, "stage": "Closed", "state": "won", "amount": "1000.00", "currency": "EUR"},
    ),
    ("quote", "q-9", "2026-05-01T10:00:00+00:00", offer(**ACCEPTED)),
)
APPLYING = Applying(None, "crm:crm", NOW)


def with_plan(ledger: Engine) -> Engine:
    plan = {
        "plan_id": "gold",
        "name": "Gold",
        "currency": "EUR",
        "effective_from": "2020-01-01",
        "charges": [MONTHLY_FEE],
    }
    save_price_plan(ledger, plan, now=LONG_AGO)
    return ledger


def tell(ledger: Engine, crm: FakeCrm, *said: Said, system: str = "crm") -> list[TakenChange]:
    """As the webhook's door does it."""
    secret = crm_secret(SECRET, system)
    headers, body = crm.delivery(said, secret=secret, now=NOW)
    crm.adapter.verify(headers, body, secret=secret, now=NOW)
    return take_changes(ledger, system, check_changes(crm.adapter.read(body)), applying=APPLYING)


def outcomes(taken: list[TakenChange]) -> list[str]:
    return [one.outcome for one in taken]


def in_force(ledger: Engine) -> dict[str, Any]:
    """All that is here because of the CRM."""
    quote = get_quote(ledger, "crm-q-9", now=NOW)
    with ledger.connect() as connection:
        catalogue = {
            key: stored.document
            for kind in (PRODUCTS, PRICE_LISTS, PROMOTIONS)
            for key, stored in kind.load(connection).items()
        }
    return {
        "customer": get_customer(ledger, "crm-001-7").customer,
        "catalogue": catalogue,
        "quote": (quote.state, quote.quote),
        "contract": get_contract(ledger, "crm-q-9"),
        "items": [one.item for one in list_items(ledger, chosen=ItemFilter(), limit=10)],
        "objects": [
            (one["kind"], one["external_id"], one["state"], one["key"], one["document"])
            for one in list_objects(ledger, system="crm", kind=None, state=None, limit=100)
        ],
    }


def versions(ledger: Engine) -> int:
    with ledger.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(SAVED_DOCUMENTS)).scalar_one())
