"""Goal: documents that go straight to rows of the journal give the rows of their entries, in their order."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BrokenState
from invoicing.journal_rows import JournalRows
from invoicing.posting import (
    DEDUCTED_DEPOSIT_KIND,
    DEPOSIT_KIND,
    CreditSold,
    CreditUse,
    DocumentLine,
    PostedDocument,
    document_entries,
)
from invoicing.posting_rows import RecognisedDays, add_document
from invoicing.recognition import MonthShares, month_parts

ISSUED = date(2026, 2, 1)
POSTED_AT = "2026-02-01T12:00:00.000000+00:00"
KINDS = ("usage", "recurring", "one_time", "licence", "minimum_spend", "true_up", "adjustment")
DEPOSITS = (DEPOSIT_KIND, DEDUCTED_DEPOSIT_KIND)


def by_entries(documents: list[PostedDocument]) -> JournalRows:
    rows = JournalRows(7, POSTED_AT)
    for document in documents:
        for entry in document_entries(document):
            rows.add(entry)
    return rows


def at_once(documents: list[PostedDocument]) -> JournalRows:
    rows, days = JournalRows(7, POSTED_AT), RecognisedDays()
    for document in documents:
        add_document(rows, document, days)
    return rows


@st.composite
def lines(draw: st.DrawFn) -> list[DocumentLine]:
    found = []
    for number in range(draw(st.integers(0, 5))):
        start = ISSUED + timedelta(days=draw(st.integers(-40, 40)))
        end = start + timedelta(days=draw(st.sampled_from([0, 1, 7, 28, 31, 90])))
        kind = draw(st.sampled_from(KINDS * 3 + DEPOSITS))
        amount = draw(st.sampled_from([0, 1, -1, 100, -100, 999, 10**15]))
        charge = draw(st.sampled_from("abc"))
        found.append(DocumentLine(f"line-{number}", charge, kind, start, end, amount))
    return found


@st.composite
def month_shares(draw: st.DrawFn, of: list[DocumentLine]) -> dict[str, MonthShares]:
    """Of usage and adjustments over several months; a share below zero is an adjustment's."""
    found = {}
    for line in of:
        parts = month_parts(line.period_start, line.period_end, 1)
        if line.charge_kind in {"usage", "adjustment"} and len(parts) > 1 and draw(st.booleans()):
            shares = tuple((day, draw(st.integers(-3, 10**13))) for day, _ in parts)
            if sum(share for _, share in shares):
                found[line.line_id] = shares
    return found


@st.composite
def documents(draw: st.DrawFn, number: int) -> PostedDocument:
    own = draw(lines())
    net = sum(line.amount_minor for line in own)
    sells_credit: bool = draw(st.booleans())
    draws_credit: bool = draw(st.booleans())
    sold = {own[0].line_id: CreditSold(own[0].amount_minor, ISSUED)} if own and sells_credit else {}
    drawn = draws_credit and bool(own) and own[0].amount_minor > 0 and not sold
    return PostedDocument(
        document_id=f"d{number}",
        kind=draw(st.sampled_from(["invoice", "invoice", "credit_note"])),
        customer_id="acme",
        contract_id=f"c{number}",
        currency="EUR",
        issue_date=ISSUED,
        net_minor=net,
        tax_minor=draw(st.sampled_from([0, 19, -19])),
        credit_minor=own[0].amount_minor if drawn else 0,
        lines=own,
        used=[CreditUse(own[0].amount_minor, 0, ((own[0].line_id, own[0].amount_minor),))] if drawn else (),
        sold=sold,
        corrects=draw(st.booleans()),
        shares=draw(month_shares(own)),
    )


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_the_rows_are_those_of_the_entries(data: st.DataObject) -> None:
    several = [data.draw(documents(number)) for number in range(data.draw(st.integers(1, 4)))]
    assert at_once(several) == by_entries(several)


def test_a_document_that_does_not_add_up_is_refused() -> None:
    own = [DocumentLine("l", "calls", "usage", date(2026, 1, 1), ISSUED, 100)]
    document = PostedDocument("d", "invoice", "acme", "c1", "EUR", ISSUED, 101, 0, 0, own)
    with pytest.raises(BrokenState, match="sums to"):
        at_once([document])
