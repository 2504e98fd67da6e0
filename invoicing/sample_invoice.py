"""An invoice that shows all a template can change, to look at one before it is used."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Final

from invoicing.invoice import Invoice, InvoiceDiscount, InvoiceLine, InvoiceTier
from invoicing.invoice_tax import InvoiceTax

_START: Final = date(2026, 1, 1)
_END: Final = date(2026, 2, 1)
_TIERS: Final = (
    InvoiceTier(1, Decimal(0), Decimal(1000), Decimal("0.10"), None, Decimal(1000), Decimal(100)),
    InvoiceTier(2, Decimal(1000), None, Decimal("0.05"), None, Decimal(400), Decimal(20)),
)
_SELLER: Final = {
    "name": "Example Seller Ltd",
    "address_lines": ["1 Example Street", "Dublin"],
    "country": "IE",
    "email": "billing@seller.example",
    "bank_account": "IE29 AIBK 9311 5212 3456 78",
}
_CUSTOMER: Final = {
    "customer_id": "sample",
    "name": "Sample Customer",
    "address_lines": ["2 Sample Road", "Cork"],
    "country": "IE",
}


def sample_invoice() -> Invoice:
    """Always the same: a fee, usage in tiers with a discount, 20 % tax; total 240.00 EUR. No real parties."""
    lines = (
        _line(
            1, "Monthly fee", "100", quantity=Decimal(1), charge_kind="recurring", price_text="flat 100.00"
        ),
        _line(
            2,
            "API calls",
            "100",
            quantity=Decimal(1500),
            rated_quantity=Decimal(1400),
            charge_kind="usage",
            price_model="graduated",
            dimensions={"region": "eu"},
            tiers=_TIERS,
            discounts=(InvoiceDiscount("sample", "Sample discount", "20.00 off", Decimal(20)),),
        ),
    )
    return Invoice(
        invoice_id="0" * 32,
        billing_date=_END,
        contract={"contract_id": "sample-contract", "time_zone": "UTC"},
        customer=_CUSTOMER,
        customer_version=1,
        seller=_SELLER,
        terms={"payment_days": 30, "payment_methods": ["bank transfer"], "owner": "Sample contact"},
        currency="EUR",
        minor_digits=2,
        period_start=_START,
        period_end=_END,
        lines=lines,
        total_minor=20000,
        number="SAMPLE-2026-000001",
        issue_date=_END,
        due_date=date(2026, 3, 3),
        tax=(InvoiceTax("S", Decimal(20), 20000, 4000),),
    )


def _line(number: int, description: str, amount: str, **facts: Any) -> InvoiceLine:
    usual: dict[str, Any] = {
        "price_model": "flat",
        "price_text": "each unit at the price of its tier",
        "rated_quantity": facts["quantity"],
        "dimensions": {},
        "tiers": (),
    }
    return InvoiceLine(
        line_id=f"{number:032x}",
        charge_id=f"sample-{number}",
        description=description,
        plan_id="sample",
        plan_version=1,
        meter_id="",
        unit="call",
        period_start=_START,
        period_end=_END,
        days=31,
        full_days=31,
        event_count=0,
        amount=Decimal(amount),
        amount_minor=int(Decimal(amount) * 100),
        **{**usual, **facts},
    )
