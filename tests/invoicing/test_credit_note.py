"""Goal: a credit note takes back exactly what is asked for, never more than there is, and tax to the cent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import InvalidInput
from invoicing.credit_note import CreditNoteDraft, CreditNoteRequest, draft_credit_note, left_of_lines
from invoicing.credit_note_document import credited_taxes
from invoicing.invoice import InvoiceCredit, invoice_text
from invoicing.invoice_tax import InvoiceTax
from invoicing.tax_amounts import shares_of
from tests.invoicing.credit_case import invoice, line

REASON = {"reason": "counted twice"}


def document(*amounts: int, tax: tuple[tuple[str, int, int], ...] = (), **more: Any) -> dict[str, Any]:
    """An issued invoice with a line an amount, named a, b, c ...; tax: (rate, taxable, tax) a group."""
    lines = [
        line(amount, line_id=chr(97 + place), quantity=Decimal(3)) for place, amount in enumerate(amounts)
    ]
    groups = tuple(
        InvoiceTax("S" if rate != "0" else "Z", Decimal(rate), base, part) for rate, base, part in tax
    )
    dated: dict[str, Any] = {
        "number": "INV-2026-000001",
        "issue_date": date(2026, 2, 1),
        "due_date": date(2026, 3, 1),
    }
    text = invoice_text(invoice(*lines, tax=groups, **dated, **more))
    return orjson.loads(text)  # type: ignore[no-any-return]


def credit(of: dict[str, Any], before: list[dict[str, Any]], **request: Any) -> CreditNoteDraft:
    """The next credit note; it is then one of ``before``."""
    wanted = CreditNoteRequest.model_validate({**REASON, **request})
    draft = draft_credit_note(
        of, before=before, given_back={}, credit_given_back={}, put_back_by_bills={}, request=wanted
    )
    before.append(orjson.loads(draft.text(number=f"CN-{len(before)}", issue_date=date(2026, 2, 2))))
    return draft


def lines_of(draft: CreditNoteDraft) -> list[tuple[str, int]]:
    return [(entry["line_id"], entry["amount_minor"]) for entry in draft.document["lines"]]


@pytest.mark.requirement("TAX-07")
def test_in_full_it_mirrors_the_invoice_and_names_it() -> None:
    of = document(1000, -200, tax=(("19", 800, 152),))
    draft = credit(of, [])
    assert lines_of(draft) == [("a", -1000), ("b", 200)]
    assert (draft.net_minor, draft.tax_minor, draft.credit_minor, draft.voids) == (-800, -152, 0, True)
    assert draft.document["invoice"] == {
        "invoice_id": "i1",
        "number": "INV-2026-000001",
        "issue_date": "2026-02-01",
    }
    assert [(g["taxable_minor"], g["tax_minor"]) for g in draft.document["tax"]] == [(-800, -152)]


# what is asked for of lines of 10.00, 5.00 and -2.00, and what is taken of each, or why not
CASES: list[tuple[dict[str, Any], list[tuple[str, int]] | str]] = [
    ({"lines": [{"line_id": "b"}]}, [("b", -500)]),
    ({"lines": [{"line_id": "a", "amount": "2.50"}]}, [("a", -250)]),
    ({"lines": [{"line_id": "a", "quantity": "1"}]}, [("a", -333)]),
    ({"lines": [{"line_id": "a", "quantity": "3"}]}, [("a", -1000)]),
    ({"lines": [{"line_id": "a"}, {"line_id": "c", "amount": "-1.00"}]}, [("a", -1000), ("c", 100)]),
    ({"amount": "13.00"}, [("a", -1000), ("b", -500), ("c", 200)]),
    ({"amount": "1.00"}, [("a", -77), ("b", -38), ("c", 15)]),
    ({"amount": "13.01"}, "credit_more_than_left"),
    ({"amount": "0"}, "credit_more_than_left"),
    ({"amount": "0.005"}, "credit_amount"),
    ({"lines": [{"line_id": "a", "amount": "10.01"}]}, "credit_more_than_left"),
    ({"lines": [{"line_id": "a", "amount": "-1"}]}, "credit_more_than_left"),
    ({"lines": [{"line_id": "a", "quantity": "3.1"}]}, "credit_more_than_left"),
    ({"lines": [{"line_id": "a"}, {"line_id": "b"}]}, "credit_not_within_invoice"),
    ({"lines": [{"line_id": "c"}]}, "credit_not_within_invoice"),
    ({"lines": [{"line_id": "z"}]}, "unknown_line"),
    ({"lines": [{"line_id": "a"}, {"line_id": "a"}]}, "unknown_line"),
    ({"lines": [{"line_id": "a", "quantity": "1", "amount": "1"}]}, "credit_ambiguous"),
    ({"lines": [{"line_id": "a"}], "amount": "1"}, "credit_ambiguous"),
]


@pytest.mark.parametrize(("request_", "expected"), CASES)
def test_what_is_asked_for_is_taken_or_refused(
    request_: dict[str, Any], expected: list[tuple[str, int]] | str
) -> None:
    of = document(1000, 500, -200)
    if isinstance(expected, str):
        with pytest.raises(InvalidInput) as caught:
            credit(of, [], **request_)
        assert caught.value.reason_code == expected
        return
    draft = credit(of, [], **request_)
    assert lines_of(draft) == expected
    assert draft.net_minor == sum(amount for _, amount in expected)


def test_tax_follows_the_groups_of_the_lines() -> None:
    """Lines that say their group are counted in it; others in proportion to the groups."""
    of = document(1000, 500, tax=(("7", 500, 35), ("19", 1000, 190)))
    for entry, rate in zip(of["lines"], ("19", "7"), strict=True):
        entry["tax"] = {"category": "S", "rate_percent": rate}
    draft = credit(of, [], lines=[{"line_id": "a", "amount": "5.00"}])
    found = [
        (group["rate_percent"], group["taxable_minor"], group["tax_minor"]) for group in draft.document["tax"]
    ]
    assert found == [("19", -500, -95)]
    unsaid = document(1000, 500, tax=(("7", 500, 35), ("19", 1000, 190)))
    draft = credit(unsaid, [], amount="3.00")
    assert [group["taxable_minor"] for group in draft.document["tax"]] == [-100, -200]
    assert draft.tax_minor == -(7 + 38)


def test_a_credit_note_has_the_tax_groups_of_its_lines_and_no_others() -> None:
    of = document(1000, 500, 300, -300, tax=(("7", 500, 35), ("19", 1000, 190), ("23", 0, 0)))
    for entry, rate in zip(of["lines"], ("19", "7", "23", "23"), strict=True):
        entry["tax"] = {"category": "S", "rate_percent": rate}
    before: list[dict[str, Any]] = []
    taken = [
        credit(of, before, lines=[{"line_id": "b"}]),
        credit(of, before, lines=[{"line_id": "c", "amount": "1.00"}, {"line_id": "a", "amount": "1.00"}]),
        credit(of, before),
    ]
    assert [[group["rate_percent"] for group in one.document["tax"]] for one in taken] == [
        ["7"],
        ["19", "23"],
        ["19", "23"],
    ]
    assert taken[-1].voids
    assert sum(one.tax_minor for one in taken) == -(35 + 190)
    older = before[-1] | {"tax": [*before[-1]["tax"], {**of["tax"][0], "taxable_minor": 0, "tax_minor": 0}]}
    assert [str(group.rate_percent) for group in credited_taxes(older)] == ["19", "23"]


def test_parts_of_a_quantity_sum_to_the_line_and_no_further() -> None:
    of, before = document(1000), list[dict[str, Any]]()
    taken = [
        credit(of, before, lines=[{"line_id": "a", "quantity": "1"}]).net_minor,
        credit(of, before, lines=[{"line_id": "a", "quantity": "1"}]).net_minor,
        credit(of, before, lines=[{"line_id": "a", "quantity": "1"}]).net_minor,
    ]
    assert taken == [-333, -334, -333]
    assert before[-1]["voids"] is True
    with pytest.raises(InvalidInput, match="credited in full already"):
        credit(of, before)


def test_a_reason_is_required() -> None:
    for reason in ("", "  "):
        with pytest.raises(ValueError, match="reason"):
            CreditNoteRequest.model_validate({"reason": reason})


def test_an_invoice_of_nothing_is_voided_once() -> None:
    of, before = document(0), list[dict[str, Any]]()
    assert credit(of, before).voids
    with pytest.raises(InvalidInput, match="in full already"):
        credit(of, before)


def test_credit_goes_back_to_the_grant_drawn_last_first() -> None:
    drawn = (InvoiceCredit("g1", "One", "paid", 300, 0), InvoiceCredit("g2", "Two", "paid", 400, 5))
    of, before = document(1000, drawn_credit=drawn), list[dict[str, Any]]()
    first = credit(of, before, amount="5.00")
    assert [(back.grant_id, back.amount_minor) for back in first.returned] == [("g2", 400), ("g1", 100)]
    rest = credit(of, before)
    assert [(back.grant_id, back.amount_minor) for back in rest.returned] == [("g1", 200)]
    assert (first.credit_minor, rest.credit_minor) == (-500, -200)


amounts = st.lists(st.integers(-500, 2000), min_size=1, max_size=5).filter(lambda parts: sum(parts) > 0)


@settings(max_examples=150)
@given(amounts, st.data())
def test_however_it_is_cut_credit_notes_sum_to_the_invoice(parts: list[int], data: st.DataObject) -> None:
    """Random credit notes until nothing is left: of no line more than it came to, all of net and tax."""
    net = sum(parts)
    tax = (net * 19 + 50) // 100
    of, before = document(*parts, tax=(("19", net, tax),)), list[dict[str, Any]]()
    for _ in range(data.draw(st.integers(0, 4))):
        left = sum(left_of_lines(of, before))
        if left <= 1:
            break
        minor = data.draw(st.integers(1, left - 1))
        credit(of, before, amount=str(Decimal(minor).scaleb(-2)))
        for whole, rest in zip(parts, left_of_lines(of, before), strict=True):
            assert min(0, whole) <= rest <= max(0, whole)
    if any(left_of_lines(of, before)):
        credit(of, before)
    assert left_of_lines(of, before) == [0] * len(parts)
    assert sum(note["total_minor"] for note in before) == -net
    assert sum(group["tax_minor"] for note in before for group in note["tax"]) == -tax
    for note in before:
        assert sum(entry["amount_minor"] for entry in note["lines"]) == note["total_minor"]
        assert sum(group["taxable_minor"] for group in note["tax"]) == note["total_minor"]


@settings(max_examples=200)
@given(amounts, st.data())
def test_a_spread_sums_and_stays_within_its_weights(weights: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(weights)))
    parts = shares_of(amount, weights)
    assert sum(parts) == amount
    assert all(min(0, weight) <= part <= max(0, weight) for part, weight in zip(parts, weights, strict=True))
