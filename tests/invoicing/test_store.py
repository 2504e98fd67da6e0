"""Reading invoices back: by id, by number, page by page, summed."""

from __future__ import annotations

from datetime import date

import pytest

from ingest.errors import InvalidInput, NotFound
from invoicing.customer_store import save_customer
from invoicing.store import InvoiceFilter, find_line, get_invoice, invoice_totals, list_invoices
from tests.invoicing.world import LONG_AGO, World


@pytest.fixture
def billed(any_world: World) -> World:
    any_world.plan()
    any_world.contracts(["c1", "c2", "c3"])
    any_world.bill("2025-03-15")
    return any_world


def test_an_invoice_is_found_by_id_and_by_number(billed: World) -> None:
    stored = get_invoice(billed.ledger, "INV-2025-000002")
    assert get_invoice(billed.ledger, stored.summary.invoice_id) == stored
    assert stored.invoice.number == "INV-2025-000002"
    with pytest.raises(NotFound, match="INV-2025-000099"):
        get_invoice(billed.ledger, "INV-2025-000099")


def test_pages_follow_each_other_newest_first_and_miss_nothing(billed: World) -> None:
    seen, cursor = [], None
    while True:
        page = list_invoices(billed.ledger, chosen=InvoiceFilter(), limit=2, cursor=cursor)
        seen += [(summary.billing_date, summary.invoice_id) for summary in page.invoices]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(set(seen)) == 9
    assert [day for day, _ in seen] == sorted((day for day, _ in seen), reverse=True)


def test_filters_are_all_kept(billed: World) -> None:
    chosen = InvoiceFilter(contract_id="c2", billing_from=date(2025, 2, 15), billing_to=date(2025, 3, 15))
    page = list_invoices(billed.ledger, chosen=chosen, limit=10)
    assert [(entry.contract_id, entry.billing_date) for entry in page.invoices] == [("c2", date(2025, 2, 15))]
    assert list_invoices(billed.ledger, chosen=InvoiceFilter(state="draft"), limit=10).invoices == ()


def test_bad_pages_are_refused(billed: World) -> None:
    with pytest.raises(InvalidInput, match="not a cursor"):
        list_invoices(billed.ledger, chosen=InvoiceFilter(), limit=2, cursor="nonsense")
    with pytest.raises(InvalidInput, match="at least 1"):
        list_invoices(billed.ledger, chosen=InvoiceFilter(), limit=0)


def test_totals_are_by_customer_currency_and_state(billed: World) -> None:
    (total,) = invoice_totals(billed.ledger, chosen=InvoiceFilter(customer_id="acme"))
    assert (total.currency, total.state, total.invoices, total.total_minor) == ("EUR", "issued", 9, 27_000)


def test_a_line_leads_to_its_invoice(billed: World) -> None:
    stored = get_invoice(billed.ledger, "INV-2025-000003")
    place = find_line(billed.ledger, stored.invoice.lines[0].line_id)
    assert (place.invoice_id, place.position) == (stored.summary.invoice_id, 1)
    with pytest.raises(NotFound, match="no invoice has a line"):
        find_line(billed.ledger, "0" * 32)


def test_invoices_are_searched_by_number_and_by_customer(billed: World) -> None:
    """A number, an id, a part of a name or legal name; codes elsewhere in a customer's record find none."""
    world = billed
    other = {"customer_id": "k9", "name": 'Zorro "Z" & Co', "legal_name": "Überland 50% AG", "country": "DE"}
    save_customer(world.ledger, other, now=LONG_AGO)
    world.contract("c9", customer_id="k9", start_date=date(2025, 3, 15))
    world.bill("2025-03-15")
    found = {}
    for words in ("INV-2025-000010", "k9", 'zorro "z"', "Überland 50%", "50_ ag", "DE", "acme", "nobody"):
        page = list_invoices(world.ledger, chosen=InvoiceFilter(search=words), limit=100)
        found[words] = sorted({summary.contract_id for summary in page.invoices})
    assert found == {
        "INV-2025-000010": ["c9"],
        "k9": ["c9"],
        'zorro "z"': ["c9"],
        "Überland 50%": ["c9"],
        "50_ ag": ["c9"],
        "DE": [],
        "acme": ["c1", "c2", "c3"],
        "nobody": [],
    }
    (total,) = invoice_totals(world.ledger, chosen=InvoiceFilter(search="k9"))
    assert total.invoices == 1
    with pytest.raises(InvalidInput, match="names nothing"):
        list_invoices(world.ledger, chosen=InvoiceFilter(search=" "), limit=1)
