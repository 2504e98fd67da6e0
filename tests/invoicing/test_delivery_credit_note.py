"""Goal: credit notes reach people as invoices do, in words of their own; both reach the e-invoice network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree
from pypdf import PdfReader
from sqlalchemy import Engine

from ingest.clock import FixedClock
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, StoredCreditNote, issue_credit_note
from invoicing.customer_store import save_customer
from invoicing.delivery.channel import Channel
from invoicing.delivery.channel_folder import FolderNetwork, NetworkChannel, PrintChannel
from invoicing.delivery.deliver import deliver_due
from invoicing.delivery.documents import PDF, XML, DocumentShelf
from invoicing.delivery.files import document_shelf
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.link_page import link_page
from invoicing.delivery.mail_text import preview
from invoicing.delivery.wording import LANGUAGES, Letter
from invoicing.document import InvoicePrinter
from invoicing.einvoice_check import EInvoiceChecker
from tests.invoicing.delivery_case import NOW, email_channel, mail_server
from tests.invoicing.einvoice_case import BUYER, priced, put_issued, taxed

MAILED = {key: BUYER[key] for key in ("customer_id", "name", "country", "endpoint_id", "endpoint_scheme")}
WIRED = {"channel": "network", "address": "9930:DE136695976"}


def credited(ledger: Engine, **customer: object) -> StoredCreditNote:
    """An invoice of 30.00 and tax, of which 10.00 is taken back; the customer as given."""
    save_customer(ledger, {**MAILED, "email": "ap@acme.example", **customer}, now=NOW)
    terms = {**taxed(priced("1", "1")).terms, "owner": "Jane Doe <jane@seller.example>"}
    invoice = put_issued(ledger, taxed(priced("0.25", "120"), terms=terms), issued_at=NOW.isoformat())
    request = CreditNoteRequest.model_validate({"reason": "counted twice", "amount": "10.00"})
    issuing = Issuing(series_prefix="CN", actor="finance", idempotency_key=None, now=NOW)
    return issue_credit_note(ledger, str(invoice.number), request, issuing)[0]


def shelf_of(ledger: Engine) -> DocumentShelf:
    return document_shelf(ledger, InvoicePrinter(), profile="peppol")


def send(ledger: Engine, **channels: Channel) -> list[tuple[str, str, str]]:
    """Everything that is due, twice; (channel, state, reason code) of every delivery."""
    for _ in range(2):
        shelf = shelf_of(ledger)
        deliver_due(ledger, channels=channels, shelf=shelf, link_days=90, clock=FixedClock(NOW))
    return sorted((one.channel, one.state, one.reason_code) for one in list_deliveries(ledger, limit=20))


@pytest.mark.requirement("DEL-01")
def test_a_credit_note_is_mailed_once_with_its_pdf(any_ledger: Engine) -> None:
    note = credited(any_ledger)
    with mail_server() as box:
        sent = send(any_ledger, email=email_channel(any_ledger, shelf_of(any_ledger), box.port))
    assert sent == [("email", "sent", ""), ("email", "sent", "")]
    subjects = sorted(str(message["Subject"]) for message in box.messages())
    assert subjects == ["Credit note CN-2026-000001 from Jane Doe", "Invoice INV-2025-000001 from Jane Doe"]
    (message,) = (one for one in box.messages() if "Credit note" in str(one["Subject"]))
    plain = message.get_body(("plain",))
    assert plain is not None
    words = plain.get_content()
    assert "takes back €12.30 of invoice INV-2025-000001" in words
    assert "Amount due" not in words
    assert "Account" not in words
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == "CN-2026-000001.pdf"
    kept = shelf_of(any_ledger)
    file = kept.file(kept.get(note.summary.credit_note_id), PDF, now=NOW)
    assert attached.get_content() == file.content


def test_every_language_has_words_for_it(ledger: Engine) -> None:
    note = credited(ledger)
    document = shelf_of(ledger).get(note.summary.credit_note_id)
    for purpose in ("document", "resend", "alert"):
        for language in LANGUAGES:
            letter = Letter(
                purpose, language, "Acme", "Seller", "a@b.example", "https://x.example/i/1", document
            )
            said = preview(replace(letter, trouble=("failed", "550", "ap@acme.example")), own=None)
            assert "CN-2026-000001" in said.subject
            shown = said.plain + said.subject + link_page(letter, path="/i/1", confirmed=False)
            assert not re.search("(Invoice|Rechnung|Facture) CN", shown, re.IGNORECASE)


@pytest.mark.requirement("DEL-11")
@pytest.mark.requirement("TAX-04")
def test_the_network_gets_right_e_invoices(ledger: Engine, tmp_path: Path) -> None:
    note = credited(ledger, delivery=WIRED)
    sent = send(ledger, network=NetworkChannel(FolderNetwork(tmp_path), shelf_of(ledger)))
    assert sent == [("network", "sent", ""), ("network", "sent", "")]
    checker = EInvoiceChecker()
    files = sorted(tmp_path.glob("*.xml"))
    kinds = [etree.QName(etree.fromstring(path.read_bytes())).localname for path in files]
    assert kinds == ["CreditNote", "Invoice"]
    for path in files:
        assert checker.check(path.read_bytes()).valid, path
    checker.close()
    document = shelf_of(ledger).get(note.summary.credit_note_id)
    assert files[0].read_bytes() == shelf_of(ledger).file(document, XML, now=NOW).content


def test_what_is_no_e_invoice_is_refused_with_all_it_lacks(ledger: Engine, tmp_path: Path) -> None:
    save_customer(ledger, {**MAILED, "delivery": WIRED}, now=NOW)
    buyer = {"customer_id": "acme", "name": "Acme", "country": "DE"}
    put_issued(ledger, taxed(priced("1", "1"), customer=buyer), issued_at=NOW.isoformat())
    sent = send(ledger, network=NetworkChannel(FolderNetwork(tmp_path), shelf_of(ledger)))
    assert sent == [("network", "failed", "einvoice_incomplete")]
    (failed,) = list_deliveries(ledger, limit=20)
    assert "electronic address" in failed.reason
    assert list(tmp_path.glob("*.xml")) == []


def test_a_printed_credit_note_says_so(ledger: Engine, tmp_path: Path) -> None:
    credited(ledger, delivery={"channel": "print"})
    assert send(ledger, print=PrintChannel(tmp_path, shelf_of(ledger))) == [("print", "sent", "")] * 2
    (path,) = tmp_path.glob("CN-*.pdf")
    assert "Credit note" in PdfReader(path).pages[0].extract_text()
