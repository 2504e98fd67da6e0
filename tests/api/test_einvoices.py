"""Goal: e-invoices over HTTP and by command, the same bytes in both; all that is missing in one answer."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from lxml import etree
from pypdf import PdfReader

from api.state import Ratemill
from invoicing.words import words_of
from tests.api.conftest import Run
from tests.invoicing.einvoice_case import BUYER, SELLER, priced, put_issued, taxed


@pytest.mark.requirement("TAX-04")
def test_an_issued_invoice_is_an_e_invoice_in_both_syntaxes(
    run: Run, http: httpx.Client, state: Ratemill, tmp_path: Path
) -> None:
    issued = put_issued(state.ledger, taxed(priced("0.0000012", "7000000")))
    for syntax, root in (("ubl", "Invoice"), ("cii", "CrossIndustryInvoice")):
        answer = http.get(f"/v1/invoices/{issued.number}/{syntax}")
        assert answer.headers["content-type"] == "application/xml"
        assert f'{issued.number}-{syntax}.xml"' in answer.headers["content-disposition"]
        assert etree.QName(etree.fromstring(answer.content)).localname == root
        assert run("invoice", "xml", issued.number, "--syntax", syntax, "--out", "a.xml").status == 0
        assert (tmp_path / "a.xml").read_bytes() == answer.content
        checked = run("invoice", "validate", issued.number, "--syntax", syntax, "--json").json()
        assert checked["valid"]
        assert checked["checks"] == {"schema": "run", "arithmetic": "run", "rules": "run"}
    said = run("invoice", "validate", issued.number, "--profile", "xrechnung")
    assert said.out.splitlines()[0] == f"{issued.number} is a right e-invoice (ubl, xrechnung)."


def test_what_an_e_invoice_lacks_is_said_in_one_answer(http: httpx.Client, state: Ratemill, run: Run) -> None:
    bare = put_issued(state.ledger, taxed(priced("1", "1"), seller={"name": "Northwind"}, tax=()))
    answer = http.get(f"/v1/invoices/{bare.number}/ubl")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["reason_code"] == "einvoice_incomplete"
    assert [issue["pointer"] for issue in problem["issues"]] == ["seller.country", "seller.tax_id", "tax"]
    refused = run("invoice", "validate", bare.number)
    assert refused.status == 1
    assert "states no tax" in refused.err
    assert http.get("/v1/invoices/none/cii").status_code == 404


@pytest.mark.requirement("TAX-04")
def test_a_credit_note_is_an_e_invoice_by_command_and_over_http(
    run: Run, http: httpx.Client, state: Ratemill, tmp_path: Path
) -> None:
    issued = put_issued(state.ledger, taxed(priced("0.25", "120")))
    made = run("credit-note", "create", str(issued.number), "--reason", "counted twice", "--json").json()
    for syntax, root in (("ubl", "CreditNote"), ("cii", "CrossIndustryInvoice")):
        answer = http.get(f"/v1/credit-notes/{made['number']}/{syntax}")
        assert etree.QName(etree.fromstring(answer.content)).localname == root
        assert run("credit-note", "xml", made["number"], "--syntax", syntax, "--out", "a.xml").status == 0
        assert (tmp_path / "a.xml").read_bytes() == answer.content
        checked = run("credit-note", "validate", made["number"], "--syntax", syntax, "--json").json()
        assert checked["valid"]
        assert set(checked["checks"].values()) == {"run"}
    assert run("credit-note", "pdf", made["number"], "--factur-x", "--out", "a.pdf").status == 0
    (attached,) = PdfReader(tmp_path / "a.pdf").attachments["factur-x.xml"]
    assert attached == http.get(f"/v1/credit-notes/{made['credit_note_id']}/cii").content


@pytest.mark.requirement("GEN-05")
@pytest.mark.requirement("TAX-02")
def test_period_due_date_penalty_and_tax_ids_stand_on_every_form_of_an_invoice(
    http: httpx.Client, state: Ratemill
) -> None:
    issued = put_issued(state.ledger, taxed(priced("0.25", "120")))
    path = f"/v1/invoices/{issued.number}"
    document, (line,) = http.get(path).json(), issued.lines
    last_day = line.period_end - timedelta(days=1)
    penalty, numbers = str(issued.terms["late_payment"]), (SELLER["tax_id"], BUYER["tax_id"])
    assert issued.due_date is not None
    assert penalty
    assert all(numbers)
    # The API
    assert [document[name] for name in ("due_date", "period_start", "period_end")] == [
        str(issued.due_date),
        str(issued.period_start),
        str(issued.period_end),
    ]
    assert document["lines"][0]["period_start"] == str(line.period_start)
    assert document["terms"]["late_payment"] == penalty
    assert (document["seller"]["tax_id"], document["customer"]["tax_id"]) == numbers
    # The page
    page = " ".join(PdfReader(io.BytesIO(http.get(f"{path}/pdf").content)).pages[0].extract_text().split())
    words = words_of("en")
    period = words.period(issued.period_start, issued.period_end)
    for said in (words.day(issued.due_date), period, penalty, *map(str, numbers)):
        assert said in page, said
    # XML, in both syntaxes
    wanted = {
        "ubl": (str(issued.due_date), str(line.period_start), str(last_day)),
        "cii": tuple(f"{day:%Y%m%d}" for day in (issued.due_date, line.period_start, last_day)),
    }
    for syntax, days in wanted.items():
        xml = etree.fromstring(http.get(f"{path}/{syntax}").content)
        said_there = [str(text).strip() for text in xml.itertext()]
        assert {*days, *map(str, numbers)} <= set(said_there), syntax
        assert any(penalty in text for text in said_there), syntax
