"""Goal: a retainer's statement ties, by project, with tax, on paper."""

from __future__ import annotations

import io
from dataclasses import fields
from datetime import date
from typing import Any

import pytest
from pypdf import PdfReader

from ingest.errors import NotFound
from invoicing.billable_read import ItemFilter, list_items
from invoicing.document import InvoicePrinter
from invoicing.retainer_document import printed_statement, retainer_pdf
from invoicing.retainer_statement import RetainerPeriod
from rating.contract import Contract
from tests.invoicing.items_case import CONSULTING, hours, outcomes, take
from tests.invoicing.test_retainers import SUPPORT, law_firm, statement
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World


@pytest.mark.requirement("GEN-11")
@pytest.mark.requirement("MET-05")
def test_the_statement_lists_the_hours_of_a_timesheet_by_project(world: World) -> None:
    """92 h of January from a timesheet, at 120.00, and 25 h of February, of which the retainer pays all."""
    card = {**CONSULTING, "group_by": (), "price": {"model": "per_unit", "unit_price": "120"}}
    world.plan(card)
    retained = {**SUPPORT, "name": "Advice", "charge_ids": ["consulting"]}
    world.contract(start_date=date(2025, 1, 1), retainers=[retained])
    sheet = [("A", "01-06", "39.5"), ("A", "01-07", "0.5"), ("B", "01-08", "30"), ("C", "01-31", "22")]
    sheet += [("A", "02-03", "25")]
    entries = [
        hours(str(number), quantity, project=project, date=f"2025-{day}")
        for number, (project, day, quantity) in enumerate(sheet)
    ]
    assert set(outcomes(take(world, *entries))) == {"accepted"}
    for day in ("2025-01-01", "2025-02-01", "2025-03-01"):
        assert not world.bill(day).held
    january, february, _march = statement(world)
    for period, month in ((january, "2025-01"), (february, "2025-02")):
        items = list_items(world.ledger, chosen=ItemFilter(), limit=99)
        listed = sum(item.item.quantity for item in items if str(item.item.date).startswith(month))
        assert sum(use.quantity for use in period.used) == listed  # it ties to the timesheet
        assert period.used_minor == listed * 12000 == period.drawn_minor + period.overage_minor
    printer = InvoicePrinter()

    def page(period_start: date | None) -> str:
        made = [
            retainer_pdf(
                printer, world.ledger, "c1", period_start=period_start, retainer_id=None, seller=None
            )
            for _ in range(2)
        ]
        assert made[0] == made[1]
        return " ".join(PdfReader(io.BytesIO(made[0])).pages[0].extract_text().split())

    shown = page(date(2025, 1, 1))
    for words in (
        "Retainer statement",
        "1 Jan \N{EN DASH} 31 Jan 2025",
        "Retainer: Advice",
        "A 40 hour 4,800.00",
        "B 30 hour 3,600.00",
        "C 22 hour 2,640.00",
        "Used in all 11,040.00",
        "Paid by the retainer -10,000.00",
        "Beyond the retainer, billed in addition 1,040.00 EUR",
        "Paid in advance for the period: 10,000.00 EUR.",
    ):
        assert words in shown, (words, shown)
    newest = page(None)  # March is not billed yet
    for words in ("A 25 hour 3,000.00", "Left of the retainer 7,000.00 EUR", "Lapsed: 7,000.00 EUR."):
        assert words in newest, (words, newest)
    with pytest.raises(NotFound, match="begins on 2024-01-01"):
        page(date(2024, 1, 1))


def test_a_statement_counts_the_tax_that_the_retainer_pays(world: World) -> None:
    """90 hours are 10,800.00 and 2,052.00 of tax: 10,000.00 are paid by the month, 2,852.00 go beyond."""
    setting(world)
    law_firm(world, [30, 20], [40, 50])
    assert not world.bill("2025-03-01").held
    january, february, _ = statement(world)
    assert (january.used_minor, january.tax_minor, january.drawn_minor) == (600000, 114000, 714000)
    assert (january.overage_minor, january.remaining_minor) == (0, 286000)
    assert (february.used_minor, february.tax_minor, february.drawn_minor) == (1080000, 205200, 1000000)
    assert february.overage_minor == 285200
    for period in (january, february):
        assert [
            sum(getattr(row, name) for row in period.used) for name in ("tax_minor", "overage_minor")
        ] == [
            period.tax_minor,
            period.overage_minor,
        ]


def test_a_statement_whose_retainer_pays_tax_says_so() -> None:
    """Used 100.00, with 19.00 of tax 119.00, of which the retainer had 110.00."""
    day = date(2025, 1, 1)
    said: dict[str, Any] = {
        "contract_id": "c1",
        "retainer_id": "r",
        "currency": "EUR",
        "used": (),
        "billed": True,
    }
    said |= {"period_start": day, "period_end": date(2025, 2, 1)}
    said |= {"granted_minor": 11_000, "used_minor": 10_000, "tax_minor": 1_900}
    said |= {"drawn_minor": 11_000, "overage_minor": 900}
    period = RetainerPeriod(**{field.name: said.get(field.name, 0) for field in fields(RetainerPeriod)})
    agreed = {"contract_id": "c1", "customer_id": "k", "plan_id": "p", "start_date": day, "time_zone": "UTC"}
    printed = printed_statement(period, Contract.model_validate(agreed), {"name": "K"}, {})
    sums = [(row["label"], row["value"]) for row in printed["sums"]]
    assert sums == [("Used in all", "100.00"), ("Tax on it", "19.00"), ("Paid by the retainer", "-110.00")]
    assert (printed["total"], printed["tax_notes"]) == ("9.00 EUR", [])
