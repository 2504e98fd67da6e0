"""Goal: who pays, and on what terms, is known before a contract is signed; a conflict is heard of at once."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.errors import InvalidDocument
from invoicing.billing_entity import save_entity
from invoicing.customer_store import save_customer
from invoicing.payer_rules import contract_issues, terms_warnings
from rating.catalogue import get_contract, save_contract, save_price_plan
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY
from tests.invoicing.world import LONG_AGO

PLAN = {"plan_id": "gold", "name": "Gold", "currency": "EUR", "effective_from": date(2020, 1, 1)}


def save(ledger: Engine, **changes: Any) -> None:
    contract = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": date(2025, 1, 15),
        "time_zone": "UTC",
    }
    save_contract(ledger, contract | changes, now=LONG_AGO, further_rules=contract_issues)


def refused(ledger: Engine, **changes: Any) -> list[str]:
    with pytest.raises(InvalidDocument) as error:
        save(ledger, **changes)
    return [issue.reason_code for issue in error.value.issues]


def payer(ledger: Engine, **changes: Any) -> None:
    save_customer(ledger, CUSTOMER | changes, now=LONG_AGO)


@pytest.mark.requirement("CRM-04")
def test_no_contract_without_payer_terms_and_a_word_on_orders(ledger: Engine) -> None:
    save_price_plan(ledger, PLAN | {"charges": [MONTHLY_FEE]}, now=LONG_AGO)
    save_entity(ledger, ENTITY | {"require_payer": True}, now=LONG_AGO)
    missing = ["payer_missing", "payer_terms_missing", "purchase_order_unasked"]
    assert refused(ledger) == missing
    payer(ledger, notify={"name": "Erika"})
    assert refused(ledger) == missing
    known = {"notify": {"name": "Erika", "email": "erika@acme.example"}, "ap_terms_days": 0}
    payer(ledger, **known)
    assert refused(ledger) == ["purchase_order_unasked"]
    payer(ledger, **known, purchase_order_required=False)
    save(ledger)
    assert refused(ledger, billing_entity="nobody") == ["billing_entity_unknown"]


@pytest.mark.requirement("CRM-05")
def test_terms_the_customer_does_not_keep_are_told(ledger: Engine) -> None:
    save_price_plan(ledger, PLAN | {"charges": [MONTHLY_FEE]}, now=LONG_AGO)
    payer(ledger, ap_terms_days=45, purchase_order_required=True)
    save(ledger, terms={"payment_days": 15})
    told = terms_warnings(ledger, get_contract(ledger, "c1"))
    assert [issue.reason_code for issue in told] == ["payment_terms_conflict", "purchase_order_missing"]
    assert "within 15 days" in told[0].message
    assert "within 45" in told[0].message
    save(ledger, terms={"payment_days": 45, "purchase_order": "PO-1"})
    assert terms_warnings(ledger, get_contract(ledger, "c1")) == ()
