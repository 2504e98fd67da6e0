"""Goal: a correction is a line with a reason, the sums are counted anew, and what was rated stays
readable."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ingest.errors import Conflict, InvalidInput, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.credit_store import grant_credit
from invoicing.invoice import Invoice, invoice_text
from invoicing.invoice_tax import InvoiceLineTax, InvoiceTax
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_store import JournalFilter
from invoicing.journal_store import list_entries as list_journal
from invoicing.lock import billing_lock
from invoicing.review.correct import correct
from invoicing.review.correction import CorrectionRequest, corrected
from invoicing.review.moves import approve, delegate, send_back, submit
from invoicing.review.review_store import get_review
from invoicing.store import get_invoice
from invoicing.tables import INVOICE_LINES
from invoicing.tax_again import with_tax_again
from tests.invoicing import test_tax_billing as taxed
from tests.invoicing.credit_case import grant, invoice, line
from tests.invoicing.support import CALLS
from tests.invoicing.test_review import NOW, draft_of, one_in_review, person, rules, waiting
from tests.invoicing.world import World, at


def request(line_id: str, amount: str, reason: str = "counted twice") -> CorrectionRequest:
    return CorrectionRequest(line_id=line_id, amount=Decimal(amount), reason=reason)


def of_tax(amount_minor: int, line_id: str, percent: int, *, inclusive: bool = False) -> object:
    tax = InvoiceLineTax("S", Decimal(percent), "standard", amount_minor if inclusive else None)
    return line(amount_minor, line_id=line_id, tax=tax)


def drafted(*lines: object, percents: tuple[int, ...]) -> Invoice:
    """A draft whose sums are counted from its lines."""
    groups = tuple(InvoiceTax("S", Decimal(percent), 0, 0) for percent in percents)
    return with_tax_again(invoice(*lines, tax=groups))  # type: ignore[arg-type]


def test_an_invoice_stays_one_with_its_tax_and_a_draft_below_zero_may_be_corrected() -> None:
    given_back = drafted(of_tax(-5_000, "a", 19), percents=(19,))
    after = corrected(given_back, request("a", "-40.00"))
    assert (after.total_minor, after.gross_minor) == (-4_000, -4_760)
    mixed = drafted(of_tax(1_000, "free", 0), of_tax(500, "taxed", 19), percents=(0, 19))
    with pytest.raises(InvalidInput) as refused:  # net 0.50, and with tax -1.31
        corrected(mixed, request("taxed", "-9.50"))
    assert refused.value.reason_code == "correction_below_zero"


@pytest.mark.requirement("APP-07")
def test_the_line_stays_and_another_carries_the_difference_and_its_tax() -> None:
    draft = drafted(of_tax(10_000, "a", 19), of_tax(5_000, "b", 7), percents=(7, 19))
    after = corrected(draft, request("a", "80.00"))
    assert [each.amount_minor for each in after.lines] == [10_000, 5_000, -2_000]
    assert (after.total_minor, [group.tax_minor for group in after.tax]) == (13_000, [350, 1_520])
    added = after.lines[-1]
    assert (added.charge_kind, added.price_source, added.amount) == ("correction", "review", Decimal(-20))
    assert added.description.endswith("correction: counted twice")
    again = corrected(after, request("a", "95"))
    assert [each.amount_minor for each in again.lines] == [10_000, 5_000, -2_000, 1_500]
    assert len({each.line_id for each in again.lines}) == 4


@pytest.mark.parametrize(
    ("line_id", "amount", "reason_code"),
    [
        ("a", "100.00", "correction_amount"),
        ("a", "99.999", "correction_amount"),
        ("a", "-0.01", "correction_below_zero"),
        ("top-up", "1", "correction_of_credit"),
    ],
)
def test_what_cannot_be_corrected_is_refused(line_id: str, amount: str, reason_code: str) -> None:
    draft = invoice(
        line(10_000, line_id="a"), line(0, line_id="top-up", charge_id="top-up"), total_minor=10_000
    )
    with pytest.raises(InvalidInput) as refused:
        corrected(draft, request(line_id, amount))
    assert refused.value.reason_code == reason_code


def test_corrections_and_unknown_lines_are_not_corrected() -> None:
    draft = corrected(invoice(line(10_000, line_id="a")), request("a", "1"))
    with pytest.raises(InvalidInput, match="is a correction itself"):
        corrected(draft, request(draft.lines[-1].line_id, "0"))
    with pytest.raises(NotFound):
        corrected(draft, request("b", "0"))
    with pytest.raises(InvalidInput, match="Nothing says why"):
        corrected(draft, request("a", "2", reason=" "))


LINES = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from([7, 19]), st.booleans()), min_size=1, max_size=5
)


@settings(max_examples=60)
@given(LINES, st.data())
def test_sums_hold_and_correcting_back_gives_the_same_sums(
    lines: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    made = [
        of_tax(amount, str(place), rate, inclusive=inside)
        for place, (amount, rate, inside) in enumerate(lines)
    ]
    draft = drafted(*made, percents=(7, 19))
    place = data.draw(st.integers(0, len(lines) - 1))
    wanted = data.draw(st.integers(0, 10**6).filter(lambda minor: minor != lines[place][0]))
    after = corrected(draft, request(str(place), str(Decimal(wanted).scaleb(-2))))
    invoice_text(after)  # raises when lines, total and taxable amounts disagree
    with_tax = sum(amount for amount, _, inside in lines if inside)
    with_tax += wanted - lines[place][0] if lines[place][2] else 0
    if all(inside for _, _, inside in lines):
        assert after.gross_minor == with_tax
    back = corrected(after, request(str(place), str(Decimal(lines[place][0]).scaleb(-2))))
    assert back.gross_minor == draft.gross_minor
    assert [group.tax_minor for group in back.tax] == [group.tax_minor for group in draft.tax]


@pytest.mark.requirement("APP-07")
def test_a_corrected_draft_is_reviewed_again_and_the_trail_has_both(any_world: World) -> None:
    world = any_world
    invoice_id = one_in_review(world)
    ledger = world.ledger
    grant_credit(ledger, grant(amount="100", effective_from="2025-01-01"), now=NOW)
    fee = draft_of(world, "c1").invoice.lines[0].line_id
    approve(ledger, invoice_id, person("anna"), reason="", now=NOW)
    correct(ledger, invoice_id, person("ben"), request(fee, "25.50", "as agreed"), now=NOW)
    assert waiting(world) == ["c1 2025-01-15 anna"]
    draft = get_invoice(ledger, invoice_id)
    assert (draft.summary.total_minor, draft.invoice.credit_minor) == (2_550, 2_550)
    (entry, *_) = list_entries(ledger, chosen=AuditFilter(action="corrected"), limit=9)
    states = entry.to_dict()
    assert (states["before"]["total_minor"], states["after"]["total_minor"]) == (3_000, 2_550)
    assert (states["after"]["by"], states["reason"]) == ("ben", "as agreed")
    with billing_lock(ledger), pytest.raises(Conflict):
        correct(ledger, invoice_id, person("anna"), request(fee, "20"), now=NOW)
    send_back(ledger, invoice_id, person("anna"), reason="20 was agreed", now=NOW)
    correct(ledger, invoice_id, person("clerk"), request(fee, "20"), now=NOW)
    assert get_review(ledger, invoice_id).review.state == "returned"
    submit(ledger, invoice_id, person("clerk"), reason="20 it is", now=NOW)
    approve(ledger, invoice_id, person("anna"), reason="", now=NOW)
    delegate(ledger, invoice_id, person("ben"), to="carl", reason="corrected it myself", now=NOW)
    approve(ledger, invoice_id, person("carl"), reason="", now=NOW)
    issued = issue_invoice(ledger, invoice_id=invoice_id, now=NOW, series_prefix="INV", actor="sender")
    assert (issued.summary.total_minor, issued.summary.due_minor) == (2_000, 0)
    assert [each.amount_minor for each in issued.invoice.lines] == [3_000, -450, -550]
    assert verify_books(ledger).to_dict()["proved"]
    with pytest.raises(Conflict):
        correct(ledger, invoice_id, person("anna"), request(fee, "10"), now=NOW)


def test_with_tax_in_prices_the_stored_lines_follow(world: World) -> None:
    taxed.setting(world)
    charge = {**CALLS, "price": {"model": "per_unit", "unit_price": "1.19"}}
    world.plan(charge, {**charge, "charge_id": "again", "name": "Again"}, prices_include_tax=True)
    world.contract()
    rules(world, policy="all", reviewers=["anna"], four_eyes=False)
    world.bill("2025-02-15")
    (stored,) = world.invoices(state="draft")
    invoice_id, first = stored.summary.invoice_id, stored.invoice.lines[0]
    correct(world.ledger, invoice_id, person("anna"), request(first.line_id, "1.01"), now=NOW)
    approve(world.ledger, invoice_id, person("anna"), reason="", now=NOW)
    issued = issue_invoice(world.ledger, invoice_id=invoice_id, now=NOW, series_prefix="INV", actor="sender")
    with world.ledger.connect() as connection:
        amounts = connection.execute(
            select(INVOICE_LINES.c.amount_minor)
            .where(INVOICE_LINES.c.invoice_id == invoice_id)
            .order_by(INVOICE_LINES.c.position)
        ).scalars()
        assert list(amounts) == [each.amount_minor for each in issued.invoice.lines]
    assert issued.summary.tax_minor == sum(group.tax_minor for group in issued.invoice.tax) > 0
    assert verify_books(world.ledger).to_dict()["proved"]
    assert issued.invoice.gross_minor == 101 + 12_000 * 119 // 100
    assert verify_journal(world.ledger) == []


def test_a_correction_stands_when_usage_comes_late(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    rules(world, policy="all", reviewers=["anna"], four_eyes=False)
    world.events(("call", "c1-subject", "2025-01-20", "1000"))
    world.bill("2025-02-15", now=at("2025-02-15T12:00"))
    stored = draft_of(world, "c1")
    invoice_id = stored.summary.invoice_id
    correct(
        world.ledger, invoice_id, person("anna"), request(stored.invoice.lines[0].line_id, "7.00"), now=NOW
    )
    world.events(("call", "c1-subject", "2025-01-21", "100"))
    assert not world.bill("2025-03-15", now=at("2025-03-16")).held
    first, second = world.invoices()
    assert [each.amount_minor for each in first.invoice.lines] == [1_000, -300]
    assert [(each.charge_kind, each.amount_minor) for each in second.invoice.lines] == [("adjustment", 100)]


def test_a_correction_is_revenue_when_the_line_it_corrects_is(world: World) -> None:
    """A quarter's minimum is revenue of its last day, and so is its correction, also when it is credited."""
    world.plan(CALLS, minimum_spend="100")
    world.contract(start_date=date(2025, 1, 1), billing={"cadence": "quarterly"})
    rules(world, policy="all", reviewers=["anna"], four_eyes=False)
    world.bill("2025-04-01")
    stored = draft_of(world, "c1")
    invoice_id = stored.summary.invoice_id
    (minimum,) = [each for each in stored.invoice.lines if each.charge_kind == "minimum_spend"]
    correct(world.ledger, invoice_id, person("anna"), request(minimum.line_id, "130.00"), now=NOW)
    approve(world.ledger, invoice_id, person("anna"), reason="", now=NOW)
    issued = issue_invoice(world.ledger, invoice_id=invoice_id, now=NOW, series_prefix="INV")
    assert recognised(world) == {"2025-03-31": 13_000}
    correction = issued.invoice.lines[-1]
    wanted = {"reason": "agreed after all", "lines": [{"line_id": correction.line_id}]}
    note = CreditNoteRequest.model_validate(wanted)
    issue_credit_note(world.ledger, invoice_id, note, Issuing("CN", "anna", None, at("2025-04-20")))
    assert recognised(world) == {"2025-03-31": 13_000, "2025-04-20": -3_000}
    assert verify_journal(world.ledger) == []


def recognised(world: World) -> dict[str, int]:
    """Revenue by day of account."""
    days: dict[str, int] = {}
    for entry in list_journal(world.ledger, chosen=JournalFilter(account="revenue"), limit=100):
        summed = sum(each["amount_minor"] for each in entry["lines"] if each["account"] == "revenue")
        days[entry["entry_date"]] = days.get(entry["entry_date"], 0) - summed
    return days
