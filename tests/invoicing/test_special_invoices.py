"""Goal: deposits are taxed, held and deducted once; the other special invoices post correctly."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_verify import verify_books
from invoicing.billing_entity import BillingEntity, save_entity
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.customer_store import save_customer
from invoicing.document import InvoicePrinter
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.journal_store import JournalFilter, trial_balance
from invoicing.register import DocumentKind
from invoicing.special_invoice import SpecialInvoiceRequest
from invoicing.special_invoice_document import special_invoice_pdf
from invoicing.special_invoice_draft import (
    Deducted,
    SpecialDraft,
    SpecialHead,
    draft_special_invoice,
)
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import (
    SpecialFilter,
    StoredSpecialInvoice,
    get_special_invoice,
    issue_special_invoice,
    list_special_invoices,
    preview_special_invoice,
)
from invoicing.tables import ISSUED_DOCUMENTS
from invoicing.tax_amounts import tax_on_net
from invoicing.tax_decision import TaxBuyer, TaxDecision, TaxQuestion, TaxSeller
from invoicing.tax_desk import ContractTax, TaxDesk
from invoicing.tax_rates import TAX_RATES, example_tax_rates
from tests.invoicing import credit_case
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY
from tests.invoicing.world import LONG_AGO, World, at

LATER = "2025-06-30"


def site(world: World, **entity: Any) -> World:
    """A German seller and a contract from 15 January 2025."""
    save_entity(world.ledger, ENTITY | entity, now=LONG_AGO)
    for rates in example_tax_rates(["DE"]):
        TAX_RATES.save(world.ledger, rates, now=LONG_AGO)
    save_customer(world.ledger, CUSTOMER, now=LONG_AGO)
    world.plan()
    world.contract()
    return world


def issue(
    world: World, kind: str, *amounts: str, on: str = "2025-02-01", **more: Any
) -> StoredSpecialInvoice:
    """One line an amount."""
    key, now = more.pop("key", None), at(more.pop("now", "2025-12-31"))
    lines = [
        {"description": f"part {place}", "amount": amount} for place, amount in enumerate(amounts, start=1)
    ]
    request = SpecialInvoiceRequest.model_validate(
        {"kind": kind, "contract_id": "c1", "lines": lines, "dated_on": on, **more}
    )
    return issue_special_invoice(world.ledger, request, SpecialIssuing(None, "finance", key, now))[0]


def balances(world: World, on: str) -> dict[str, int]:
    """By account, a debit above zero; those at zero left out."""
    rows = trial_balance(world.ledger, chosen=JournalFilter(on=date.fromisoformat(on)))
    return {row.account: row.balance_minor for row in rows if row.balance_minor}


def proved(world: World) -> None:
    assert verify_books(world.ledger).broken == ()
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []


@pytest.mark.requirement("CON-17")
@pytest.mark.requirement("TAX-08")
@pytest.mark.requirement("PAY-09")
def test_a_deposit_is_a_liability_until_the_final_invoice_deducts_it_once(any_world: World) -> None:
    world = site(any_world)
    deposit = issue(world, "deposit", "600.00", "400.00", percent="30", title="Plant in Hamburg")
    assert (deposit.summary.number, deposit.summary.net_minor, deposit.summary.tax_minor) == (
        "DEP-2025-000001",
        30000,
        5700,
    )
    assert balances(world, "2025-02-28") == {"receivable": 35700, "deferred": -30000, "tax": -5700}
    final = issue(world, "final", "600.00", "400.00", on=LATER)
    assert (final.summary.number, final.summary.net_minor, final.summary.tax_minor) == (
        "FIN-2025-000001",
        70000,
        13300,
    )
    assert deposit.summary.tax_minor + final.summary.tax_minor == 19000  # the tax on the whole
    assert [line.amount_minor for line in final.invoice.lines] == [60000, 40000, -30000]
    assert final.invoice.lines[2].description == "Deposit invoice DEP-2025-000001 of 2025-02-01"
    assert balances(world, LATER) == {"receivable": 119000, "revenue": -100000, "tax": -19000}
    assert get_special_invoice(world.ledger, "DEP-2025-000001").summary.deducted_by == "FIN-2025-000001"
    again = issue(world, "final", "50.00", on=LATER)  # nothing is left to deduct
    assert again.summary.net_minor == 5000
    with pytest.raises(Conflict, match="DEP-2025-000001 is deducted already") as caught:
        issue(world, "final", "1000.00", on=LATER, deducts=["DEP-2025-000001"])
    assert caught.value.reason_code == "deducted_already"
    proved(world)


@pytest.mark.requirement("TAX-08")
def test_a_rate_that_changes_in_between_leaves_each_its_own_group(world: World) -> None:
    """The German standard rate was 16 % in the second half of 2020."""
    site(world)
    deposit = issue(world, "deposit", "1000.00", percent="30", on="2020-12-01")
    final = issue(world, "final", "1000.00", on="2021-02-01")
    assert [
        (str(group.rate_percent), group.taxable_minor, group.tax_minor) for group in final.invoice.tax
    ] == [
        ("16", -30000, -4800),
        ("19", 100000, 19000),
    ]
    assert deposit.summary.tax_minor + final.summary.tax_minor == 19000
    proved(world)


@pytest.mark.requirement("GEN-09")
def test_each_kind_has_its_own_series_and_type_code_and_posts(any_world: World) -> None:
    world = site(any_world, series={"miscellaneous": "MEMO"})
    issue(world, "deposit", "100.00", percent="100", on="2025-02-01")
    issue(world, "progress", "200.00", on="2025-02-02")
    issue(world, "miscellaneous", "10.00", on="2025-02-03", reason="a lost badge")
    issue(world, "final", "500.00", on="2025-02-04")
    found = list_special_invoices(world.ledger, SpecialFilter(), limit=10)
    documents = [get_special_invoice(world.ledger, one.document_id) for one in found]
    shown = [
        (one.summary.kind, one.summary.number, orjson.loads(one.text)["type_code"], one.summary.net_minor)
        for one in documents
    ]
    assert shown == [
        ("final", "FIN-2025-000001", "380", 20000),
        ("miscellaneous", "MEMO-2025-000001", "380", 1000),
        ("progress", "PRO-2025-000001", "326", 20000),
        ("deposit", "DEP-2025-000001", "386", 10000),
    ]
    assert balances(world, "2025-02-28") == {"receivable": 60690, "revenue": -51000, "tax": -9690}
    request = CreditNoteRequest.model_validate({"reason": "found again", "dated_on": date(2025, 2, 5)})
    issuing = Issuing("CN", "ada", None, at("2025-02-05T12:00"))
    memo, _ = issue_credit_note(world.ledger, "MEMO-2025-000001", request, issuing)
    electronic = electronic_credit_note(orjson.loads(memo.text), profile="en16931")
    assert (memo.summary.number, electronic.type_code) == ("CN-2025-000001", "381")
    assert (memo.summary.net_minor, memo.summary.tax_minor) == (-1000, -190)
    assert balances(world, "2025-02-28") == {"receivable": 59500, "revenue": -50000, "tax": -9500}
    with world.ledger.connect() as connection:
        kinds: set[DocumentKind] = set(connection.execute(select(ISSUED_DOCUMENTS.c.kind)).scalars())
    assert kinds == {"deposit", "progress", "miscellaneous", "final", "credit_note"}
    proved(world)
    for table in ("special_invoices", "deducted_documents"):
        with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(world.ledger) as writing:
            writing.execute(text(f"DELETE FROM {table}"))


class _Rates:
    """Class `standard` bears 19 %, any other 7 %."""

    def decide(self, question: TaxQuestion) -> TaxDecision:
        return TaxDecision("S", Decimal(19 if question.tax_class == "standard" else 7))


def head(document_id: str) -> SpecialHead:
    tax = ContractTax(BillingEntity.model_validate(ENTITY), "{}", TaxSeller("DE"), TaxBuyer("acme", "DE"))
    desk = TaxDesk(entities={}, sellers={}, named={}, required={}, provider=_Rates())
    return SpecialHead(credit_case.invoice(invoice_id=document_id), "gold", desk, tax)


AMOUNTS = st.lists(
    st.tuples(st.integers(100, 10**7), st.sampled_from(["standard", "books"])), min_size=1, max_size=4
)


@pytest.mark.requirement("TAX-08")
@settings(max_examples=150, deadline=None)
@given(order=AMOUNTS, percents=st.lists(st.integers(1, 33), max_size=3))
def test_deposits_and_final_come_to_the_whole_in_net_and_tax(
    order: list[tuple[int, str]], percents: list[int]
) -> None:
    lines = [
        {"description": "part", "amount": Decimal(amount).scaleb(-2), "tax_class": tax_class}
        for amount, tax_class in order
    ]
    day = date(2025, 2, 1)

    def draft(kind: str, document_id: str, deducted: list[Deducted], **more: Any) -> SpecialDraft:
        request = SpecialInvoiceRequest.model_validate(
            {"kind": kind, "contract_id": "c1", "lines": lines, **more}
        )
        return draft_special_invoice(request, head(document_id), deducted, on=day)

    deposits = [draft("deposit", f"d{place}", [], percent=percent) for place, percent in enumerate(percents)]
    deducted = [
        Deducted(one.invoice.invoice_id, "deposit", one.invoice.issued(number="D", issue_date=day))
        for one in deposits
    ]
    whole = draft("progress", "whole", []).invoice
    final = draft("final", "final", deducted).invoice
    every = [final, *(one.invoice for one in deposits)]
    assert sum(one.total_minor for one in every) == whole.total_minor
    for group in whole.tax:
        parts = [each for one in every for each in one.tax if each.rate_percent == group.rate_percent]
        assert sum(each.tax_minor for each in parts) == group.tax_minor
        assert sum(each.taxable_minor for each in parts) == group.taxable_minor
    for one in every:  # of each group net and tax go together, but for a unit a deposit
        for each in one.tax:
            wanted = tax_on_net(each.taxable_minor, each.rate_percent)
            assert abs(each.tax_minor - wanted) <= len(percents)


def test_projects_are_apart_and_one_may_choose(world: World) -> None:
    site(world)
    issue(world, "deposit", "100.00", percent="50", project="north")
    issue(world, "deposit", "100.00", percent="50", project="south")
    chosen = SpecialFilter(contract_id="c1", open_deposits=True)
    assert len(list_special_invoices(world.ledger, chosen, limit=10)) == 2
    north = issue(world, "final", "100.00", project="north", on=LATER)
    assert north.summary.net_minor == 5000
    whole = issue(world, "final", "80.00", deducts=[], on=LATER)
    assert whole.summary.net_minor == 8000
    south = issue(world, "final", "50.00", deducts=["DEP-2025-000002"], on=LATER)
    assert (south.summary.net_minor, south.summary.tax_minor) == (0, 0)
    assert list_special_invoices(world.ledger, chosen, limit=10) == []
    proved(world)


def test_revenue_of_other_lines_goes_over_their_days(world: World) -> None:
    site(world)
    line = {
        "description": "Hosting",
        "amount": "300.00",
        "product": "hosting",
        "period_start": "2025-02-01",
        "period_end": "2025-05-01",
    }
    issue(world, "miscellaneous", lines=[line], reason="agreed by phone")
    assert balances(world, "2025-02-28")["revenue"] == -9438  # 28 of 89 days
    assert balances(world, "2025-04-30")["revenue"] == -30000
    proved(world)


def test_the_same_key_issues_once_and_a_preview_stores_nothing(world: World) -> None:
    site(world)
    request = SpecialInvoiceRequest.model_validate(
        {"kind": "progress", "contract_id": "c1", "lines": [{"description": "walls", "amount": "5"}]}
    )
    issuing = SpecialIssuing(None, "finance", "k", at("2025-12-31"))
    draft = preview_special_invoice(world.ledger, request, issuing)
    assert list_special_invoices(world.ledger, SpecialFilter(), limit=10) == []
    stored, made = issue_special_invoice(world.ledger, request, issuing)
    assert (
        draft.text(draft.invoice.issued(number="PRO-2025-000001", issue_date=date(2025, 12, 31)))
        == stored.text
    )
    assert made
    assert issue_special_invoice(world.ledger, request, issuing) == (stored, False)
    with pytest.raises(Conflict) as caught:
        issue(world, "progress", "6", key="k")
    assert caught.value.reason_code == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("kind", "amounts", "more", "reason_code"),
    [
        ("deposit", ["10"], {}, "deposit_percent"),
        ("deposit", ["10"], {"percent": "101"}, "deposit_percent"),
        ("progress", ["10"], {"percent": "10"}, "deposit_percent"),
        ("progress", ["10"], {"deducts": []}, "deducts_on_final"),
        ("miscellaneous", ["10"], {}, "reason_missing"),
        ("progress", ["0.001"], {}, "special_invoice_amount"),
        ("progress", ["10", "-10"], {}, "special_invoice_below_zero"),
        ("progress", ["10"], {"on": "2027-01-01"}, "special_invoice_date"),
        ("final", ["10"], {"deducts": ["DEP-2025-000009"]}, "not_found"),
    ],
)
def test_what_cannot_be_is_refused_with_one_message(
    world: World, kind: str, amounts: list[str], more: dict[str, Any], reason_code: str
) -> None:
    site(world)
    with pytest.raises((InvalidDocument, InvalidInput, NotFound)) as caught:
        issue(world, kind, *amounts, **more)
    error = caught.value
    codes = [one.reason_code for one in error.issues] if isinstance(error, InvalidDocument) else []
    assert reason_code in [*codes, getattr(error, "reason_code", "")]
    assert list_special_invoices(world.ledger, SpecialFilter(), limit=10) == []


def test_a_final_invoice_below_its_deposits_is_refused(world: World) -> None:
    site(world)
    issue(world, "deposit", "100.00", percent="100")
    with pytest.raises(InvalidInput, match=r"-10\.00 EUR of a whole of 90\.00") as caught:
        issue(world, "final", "90.00", on=LATER)
    assert caught.value.reason_code == "special_invoice_below_zero"
    proved(world)


def test_without_a_billing_entity_no_tax_is_stated(world: World) -> None:
    world.plan()
    world.contract()
    deposit = issue(world, "deposit", "100.00", percent="30")
    assert (deposit.summary.net_minor, deposit.summary.tax_minor, deposit.invoice.tax) == (3000, 0, ())
    save_entity(world.ledger, ENTITY, now=LONG_AGO)
    for rates in example_tax_rates(["DE"]):
        TAX_RATES.save(world.ledger, rates, now=LONG_AGO)
    save_customer(world.ledger, CUSTOMER, now=LONG_AGO)
    with pytest.raises(Conflict, match="do not both state tax"):
        issue(world, "final", "100.00", on=LATER)


def test_the_page_says_what_it_is_and_what_it_deducts(world: World) -> None:
    site(world)
    issue(world, "deposit", "1000.00", percent="30", project="north")
    final = issue(world, "final", "1000.00", project="north", on=LATER)
    printer = InvoicePrinter()
    pages = PdfReader(io.BytesIO(special_invoice_pdf(printer, final.text))).pages
    words = "\n".join(page.extract_text() for page in pages)
    for wanted in (
        "Final invoice",
        "FIN-2025-000001",
        "north",
        "Deposit invoice DEP-2025-000001",
        "-300.00",
        "833.00",
        "The whole: 1,000.00 EUR net, 190.00 EUR tax.",
        "Deducted: DEP-2025-000001 of 1 February 2025, 300.00 EUR net, 57.00 EUR tax.",
    ):
        assert wanted in words
    assert special_invoice_pdf(printer, final.text) == special_invoice_pdf(printer, final.text)
