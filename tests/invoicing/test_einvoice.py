"""Goal: e-invoices that every receiver takes: 0 errors in both syntaxes, exact prices, the same bytes always.

Judges: the XML schemas, the official EN 16931 rules, our own check of every line, and a validator of other
people (verifyhash-einvoice) as a second opinion.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import einvoice
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from lxml import etree

from ingest.errors import BrokenState, Conflict, InvalidInput
from invoicing import einvoice_check
from invoicing.credit_note import CreditNoteRequest, draft_credit_note
from invoicing.einvoice import einvoice_xml, electronic_invoice
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.einvoice_line import line_difference
from invoicing.einvoice_model import PROFILES, SYNTAXES, EInvoice, Syntax
from invoicing.invoice import Invoice, InvoiceCredit, invoice_text
from invoicing.schematron import SchematronWorker
from tests.invoicing.einvoice_case import BUYER, SELLER, discounted, issued_invoices, priced, taxed
from tests.invoicing.test_document import line

FEW = settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def checker() -> Iterator[EInvoiceChecker]:
    made = EInvoiceChecker()
    yield made
    made.close()


def xml_of(issued: Invoice, syntax: Syntax, **more: Any) -> bytes:
    return einvoice_xml(electronic_invoice(issued, profile=more.pop("profile", "en16931"), **more), syntax)


def errors(checker: EInvoiceChecker, xml: bytes) -> list[str]:
    """Of our checks, all of which must have run, and of the second opinion."""
    found = checker.check(xml)
    assert set(found.checks.values()) == {"run"}, found
    second = einvoice.validate_bytes(xml, profile="en16931")
    return [
        *(f"{finding.rule}: {finding.message}" for finding in found.findings if finding.is_error),
        *(
            f"second opinion {entry['rule']}"
            for entry in second["violations"]
            if entry["severity"] == "fatal"
        ),
    ]


@pytest.mark.requirement("TAX-04")
@given(issued=issued_invoices())
@FEW
def test_any_invoice_has_no_error_in_either_syntax(checker: EInvoiceChecker, issued: Invoice) -> None:
    document = electronic_invoice(issued, profile="en16931")
    assert all(line_difference(entry) <= Decimal("0.005") for entry in document.lines)
    assert sum((entry.net for entry in document.lines), Decimal(0)) == document.net
    for syntax in SYNTAXES:
        xml = einvoice_xml(document, syntax)
        assert errors(checker, xml) == []
        assert einvoice_xml(electronic_invoice(issued, profile="en16931"), syntax) == xml


@pytest.mark.requirement("TAX-04")
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_right_by_the_rules(checker: EInvoiceChecker, syntax: Syntax, profile: Any) -> None:
    issued = taxed(priced("0.25", "120"), line(2))
    if (profile, syntax) == ("peppol", "cii"):
        with pytest.raises(InvalidInput, match="takes UBL only"):
            xml_of(issued, syntax, profile=profile)
        return
    xml = xml_of(issued, syntax, profile=profile)
    assert errors(checker, xml) == []
    if profile == "xrechnung":
        assert einvoice.validate_bytes(xml, profile="xrechnung")["fatal_count"] == 0


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_credit_note_has_its_own_type_and_names_what_it_corrects(
    checker: EInvoiceChecker, syntax: Syntax
) -> None:
    issued = taxed(priced("0.25", "120"), priced("0.333", "10", 2), line(3))
    issued = replace(issued, drawn_credit=(InvoiceCredit("g", "Prepaid", "paid", 500, 0),))
    parts: list[dict[str, Any]] = []
    for lines in ([{"line_id": issued.lines[0].line_id, "quantity": "40"}], []):
        request = CreditNoteRequest.model_validate({"reason": "counted twice", "lines": lines})
        draft = draft_credit_note(
            orjson.loads(invoice_text(issued)),
            before=parts,
            given_back={},
            credit_given_back={},
            put_back_by_bills={},
            request=request,
        )
        number = f"CN-2025-00000{len(parts) + 1}"
        parts.append(orjson.loads(draft.text(number=number, issue_date=date(2025, 3, 1))))
        document = electronic_credit_note(parts[-1], profile="en16931")
        assert all(line_difference(entry) == 0 for entry in document.lines)
        xml = einvoice_xml(document, syntax)
        assert errors(checker, xml) == []
        for text in (issued.number, ">381<", number, "counted twice"):
            assert str(text).encode() in xml
    first, rest = (electronic_credit_note(part, profile="en16931") for part in parts)
    (stated,) = first.lines
    assert [stated.quantity, stated.price, stated.net] == [Decimal(40), Decimal("0.25"), Decimal(10)]
    assert [first.prepaid, first.due] == [Decimal(5), Decimal("7.30")]  # prepaid credit goes back first
    whole = electronic_invoice(issued, profile="en16931")
    assert first.gross + rest.gross == whole.gross
    assert first.prepaid + rest.prepaid == whole.prepaid
    with pytest.raises(InvalidInput, match="credit note CN-2025-000001 cannot be"):
        electronic_credit_note({**parts[0], "tax": "excluded"}, profile="en16931")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_bill_below_zero_states_the_credit_it_gives_back(checker: EInvoiceChecker, syntax: Syntax) -> None:
    issued = taxed(priced("0.25", "-120"))
    back = InvoiceCredit("g", "Welcome", "promotional", -2000, 2000)
    document = electronic_invoice(replace(issued, drawn_credit=(back,), due_date=None), profile="en16931")
    assert (document.gross, document.prepaid, document.due) == (
        Decimal("-36.90"),
        Decimal("-20.00"),
        Decimal("-16.90"),
    )
    assert errors(checker, einvoice_xml(document, syntax)) == []


def test_a_price_is_stated_exactly_and_readable() -> None:
    """(price, quantity) -> (BT-129, BT-146, BT-149) as written."""
    for price, quantity, written in (
        ("0.25", "120", ("120", "0.25", "")),
        ("1500", "2", ("2", "1500.00", "")),
        ("0.0125", "3", ("3", "0.0125", "")),
        ("0.0000012", "7000000.5", ("7000000.5", "0.12", "100000")),
        ("0.000000000001", "9", ("9", "0.01", "10000000000")),
    ):
        root = etree.fromstring(xml_of(taxed(priced(price, quantity)), "ubl"))
        found = [
            (root.findtext(f".//{{*}}{name}") or "")
            for name in ("InvoicedQuantity", "PriceAmount", "BaseQuantity")
        ]
        assert (found[0], Decimal(found[1]), found[2]) == (written[0], Decimal(written[1]), written[2])
        assert b"E-" not in xml_of(taxed(priced(price, quantity)), "cii")


def test_what_one_price_does_not_explain_is_one_unit_with_its_tiers_in_words() -> None:
    (stated,) = electronic_invoice(taxed(line(1)), profile="en16931").lines
    assert [stated.quantity, stated.price, stated.net] == [Decimal(1), Decimal("15.41"), Decimal("15.41")]
    assert stated.unit == "C62"
    assert stated.note.endswith("tier 1: 100 units, 10.00; tier 2: 20.5 units, 5.41")
    assert dict(stated.attributes) == {"quantity": "120.5 call", "region": "eu"}
    credit = line(1, charge_kind="fee_credit", amount=Decimal(-10), amount_minor=-1000, tiers=())
    stated = electronic_invoice(taxed(priced("1", "20"), credit), profile="en16931").lines[1]
    assert [stated.quantity, stated.price, stated.net] == [Decimal(-1), Decimal(10), Decimal(-10)]


def test_discounts_are_allowances_that_lead_to_the_net_amount() -> None:
    (stated,) = electronic_invoice(taxed(discounted("0.333", "10", "0.111", "0.1")), profile="en16931").lines
    assert stated.net == Decimal("3.12")
    assert [(entry.amount, entry.reason) for entry in stated.allowances] == [
        (Decimal("0.11"), "Promise 1 (as agreed)"),
        (Decimal("0.10"), "Promise 2 (as agreed)"),
    ]


def test_prepaid_credit_is_paid_already() -> None:
    issued = taxed(priced("1", "100"), drawn_credit=(InvoiceCredit("g", "Prepaid", "paid", 2300, 0),))
    document = electronic_invoice(issued, profile="en16931")
    assert [document.gross, document.prepaid, document.due] == [Decimal(123), Decimal(23), Decimal(100)]


def test_a_payer_finds_account_and_reference() -> None:
    payment = electronic_invoice(taxed(priced("1", "1")), profile="en16931").payment
    assert (payment.means_code, payment.account, payment.bic) == ("58", "IE29AIBK93115212345678", "AIBKIE2D")
    assert payment.reference == "RF47INV2025000001"


@pytest.mark.requirement("GEN-06")
def test_who_is_billed_and_who_was_sold_to_are_told_apart() -> None:
    customer = {
        **BUYER,
        "bill_to": {"name": "Acme Shared Services GmbH", "city": "Bonn", "postal_code": "53111"},
        "sold_to": {"name": "Acme Werk Nord", "city": "Kiel", "country": "DE"},
    }
    document = electronic_invoice(taxed(priced("1", "1"), customer=customer), profile="en16931")
    assert (document.buyer.name, document.buyer.city) == ("Acme Shared Services GmbH", "Bonn")
    assert document.deliver_to is not None
    assert (document.deliver_to.name, document.deliver_to.city) == ("Acme Werk Nord", "Kiel")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_planted_errors_are_found(checker: EInvoiceChecker, syntax: Syntax) -> None:
    right = xml_of(taxed(priced("0.25", "120")), syntax)
    due = b"36.90</cbc:PayableAmount" if syntax == "ubl" else b"36.90</ram:DuePayableAmount"
    number = b"IE6388047V</cbc:CompanyID" if syntax == "ubl" else b"IE6388047V</ram:ID"
    schema = b"cbc:IssueDate>" if syntax == "ubl" else b"ram:TypeCode>"
    for old, new, rule in (
        (due, due.replace(b"36.90", b"36.91"), "BR-CO-16"),
        (number, number.replace(b"IE", b"??"), "BR-CO-09"),
        (b">120<", b">121<", "line-net-amount"),
        (b">EUR<", b">EUX<", ""),
        (schema, schema.replace(b"e>", b"es>"), "SCHEMAV"),
    ):
        assert old in right
        found = checker.check(right.replace(old, new))
        assert not found.valid, old
        assert any(rule in finding.rule for finding in found.findings if finding.is_error), found.findings


def test_a_missing_vat_number_is_found_by_the_rules(checker: EInvoiceChecker) -> None:
    document = electronic_invoice(taxed(priced("1", "1")), profile="en16931")
    without = replace(document, seller=replace(document.seller, vat_id=""))
    found = checker.check(einvoice_xml(without, "ubl"))
    assert "BR-S-02" in {finding.rule for finding in found.findings if finding.is_error}


def test_a_currency_without_cents_keeps_within_what_peppol_takes(checker: EInvoiceChecker) -> None:
    yen: dict[str, Any] = {"currency": "JPY", "minor_digits": 0}
    made = taxed(priced("12.37", "5", amount_minor=62), priced("12", "5", 2, amount_minor=60), **yen)
    near, exact = electronic_invoice(made, profile="en16931").lines
    stated = [[str(value) for value in (one.quantity, one.price, one.net)] for one in (near, exact)]
    assert stated == [["1", "62", "62"], ["5", "12", "60"]]
    assert checker.check(xml_of(made, "ubl")).valid
    old = replace(near, quantity=Decimal(5), price=Decimal("12.37"))
    document = electronic_invoice(made, profile="en16931")
    found = checker.check(einvoice_xml(replace(document, lines=(old, exact)), "ubl"))
    assert [finding.rule for finding in found.findings if finding.is_error] == ["line-net-amount"]


def test_what_is_no_e_invoice_is_said_to_be_none(checker: EInvoiceChecker) -> None:
    for body in (
        b"",
        b"no xml",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    ):
        found = checker.check(body)
        assert not found.valid
        assert found.checks["rules"] == "not run: the schema is broken"


def test_all_that_is_missing_is_said_at_once() -> None:
    bare = taxed(
        priced("1", "1"),
        seller={"name": "Northwind"},
        customer={"customer_id": "acme", "name": "Acme"},
        tax=(),
    )
    with pytest.raises(InvalidInput) as refused:
        electronic_invoice(bare, profile="peppol")
    assert refused.value.reason_code == "einvoice_incomplete"
    assert [issue.pointer for issue in refused.value.issues] == [
        "seller.country",
        "customer.country",
        "seller.tax_id",
        "seller.endpoint_id",
        "customer.endpoint_id",
        "tax",
    ]
    with pytest.raises(InvalidInput, match="VAT number is missing"):
        electronic_invoice(
            taxed(priced("1", "1"), category="AE", rate="0", customer={**BUYER, "tax_id": ""}),
            profile="en16931",
        )
    unregistered = {name: value for name, value in SELLER.items() if name != "registration_id"}
    with pytest.raises(
        InvalidInput, match="its VAT number must not be on an invoice of category O"
    ) as refused:
        electronic_invoice(
            taxed(priced("1", "1"), category="O", rate="0", seller=unregistered), profile="en16931"
        )
    assert [issue.pointer for issue in refused.value.issues] == ["seller.registration_id"]
    with pytest.raises(InvalidInput, match="fraction digits"):
        electronic_invoice(taxed(priced("1", "1"), currency="KWD", minor_digits=3), profile="en16931")
    with pytest.raises(Conflict, match="is a draft"):
        electronic_invoice(taxed(priced("1", "1"), number=None), profile="en16931")


def test_without_the_extra_the_answer_says_that_the_rules_were_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(einvoice_check, "is_installed", lambda: False)
    found = EInvoiceChecker().check(xml_of(taxed(priced("1", "1")), "cii"))
    assert found.valid
    assert found.checks["rules"].startswith("not run: install the extra")


def test_a_worker_that_died_is_replaced_and_one_that_stands_still_is_told() -> None:
    xml = xml_of(taxed(priced("1", "1")), "ubl")
    worker = SchematronWorker()
    assert worker.broken_rules(xml, "ubl") == []
    first = worker.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert worker.broken_rules(xml, "ubl") == []
    assert worker.process_id not in {None, first}
    worker.close()
    hasty = SchematronWorker(seconds_max=0)
    with pytest.raises(BrokenState, match="gave no answer, twice"):
        hasty.broken_rules(xml, "ubl")
    hasty.close()


def test_the_seller_of_the_settings_is_enough_with_country_and_tax_id() -> None:
    seller = {name: SELLER[name] for name in ("name", "country", "tax_id")} | {"bank_account": "at the desk"}
    document: EInvoice = electronic_invoice(taxed(priced("1", "1"), seller=seller), profile="en16931")
    assert (document.payment.means_code, document.payment.is_iban) == ("30", False)
