"""Goal: credit given for nothing lowers what is taxed where the plan says so; what was bought never does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from invoicing.audit_verify import verify_books
from invoicing.credit_account import CreditAccount
from invoicing.credit_allowance import without_credit
from invoicing.credit_balance import balance_on
from invoicing.credit_store import entries_of, get_grant, grant_credit
from invoicing.einvoice import electronic_invoice
from invoicing.einvoice_check import EInvoiceChecker
from invoicing.einvoice_credit_note import electronic_credit_note
from invoicing.invoice import invoice_text, parse_invoice
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.preview import preview_contract
from invoicing.review.correct import correct
from invoicing.review.correction import CorrectionRequest
from invoicing.review.moves import approve, send_back, submit
from invoicing.store import StoredInvoice
from invoicing.tables import INVOICE_LINES, LINE_ALLOWANCES
from tests.invoicing.credit_case import (
    TEN,
    cart,
    given_for_nothing,
    grant,
    invoice,
    line,
    settled,
    stored,
    taxed,
)
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender
from tests.invoicing.test_credit_note_store import credit
from tests.invoicing.test_einvoice_billing import BUYER, SELLER, errors
from tests.invoicing.test_review import NOW, draft_of, person, rules
from tests.invoicing.test_seats_in_advance import SEATS, Seats
from tests.invoicing.test_tax_billing import pdf_text, setting, tax_lines
from tests.invoicing.world import LONG_AGO, World, at


@pytest.mark.parametrize(
    ("place", "tax", "due"),
    [
        # Lago's published cart: 50 and 20, a coupon of 10 and 30 of prepaid credit, 10 % tax
        ("after_tax", 700, 3700),
        ("before_tax", 300, 3300),
    ],
)
def test_the_same_cart_is_37_or_33(place: Any, tax: int, due: int) -> None:
    bill = cart(taxed(5000, name="fee"), taxed(2000), credits=place)
    found = settled(bill, given_for_nothing("coupon", "10"), given_for_nothing("credits", "30"))
    assert (found.tax_minor, found.due_minor) == (tax, due)


def test_what_was_paid_for_pays_after_tax_whatever_the_plan_says() -> None:
    bill = cart(taxed(7000), credits="before_tax")
    found = settled(bill, given_for_nothing("coupon", "10"), stored(grant("bought", "30")))
    assert [entry.grant_id for entry in found.lines[0].allowances] == ["coupon"]
    assert [entry.grant_id for entry in found.drawn_credit] == ["bought"]
    assert (found.total_minor, found.tax_minor, found.due_minor) == (6000, 600, 3600)


def test_an_allowance_off_a_price_with_tax_lowers_what_is_due_by_itself() -> None:
    bill = cart(taxed(11000, inclusive=True), credits="before_tax")
    found = settled(bill, given_for_nothing("coupon", "11"))
    assert (bill.gross_minor, found.gross_minor) == (11000, 9900)
    assert (found.total_minor, found.tax_minor) == (9000, 900)


def test_each_rate_is_lowered_by_what_its_lines_get_and_at_most_to_nothing() -> None:
    lines = (taxed(1000, name="a"), taxed(-400, name="b"), taxed(1000, Decimal(20), name="c"))
    found = settled(cart(*lines, credits="before_tax"), given_for_nothing("coupon", "15"))
    assert [group.taxable_minor for group in found.tax] == [0, 100]  # 6 of a and b, 9 of c
    only_c = settled(cart(*lines, credits="before_tax"), given_for_nothing("coupon", "15", charge_ids=["c"]))
    assert [group.taxable_minor for group in only_c.tax] == [600, 0]


def test_what_bears_tax_already_and_a_line_below_zero_of_one_rate_never_come_to_less_than_nothing() -> None:
    bill = cart(taxed(-5, name="a"), taxed(6, inclusive=True, name="b"), credits="before_tax")
    assert settled(bill, given_for_nothing("coupon", "0.01")).due_minor == bill.due_minor == 0


@pytest.mark.parametrize(("net", "with_tax"), [(-5, 6), (-50_000, 60_000)])
def test_prices_with_and_without_tax_and_a_fee_given_back_never_come_to_less_than_nothing(
    net: int, with_tax: int
) -> None:
    """A contract went over to prices with tax: 500.00 net are given back, 600.00 with tax are new."""
    bill = cart(taxed(net, name="old"), taxed(with_tax, inclusive=True, name="new"), credits="before_tax")
    found = settled(bill, given_for_nothing("coupon", "900"))
    assert 0 <= found.gross_minor <= bill.gross_minor


def test_without_tax_before_and_after_are_one() -> None:
    bill = invoice(line(7000), credits="before_tax")
    assert settled(bill, given_for_nothing("coupon", "10")).drawn_credit[0].amount_minor == 1000


AMOUNT = st.one_of(st.integers(-5000, 90_000), st.integers(-9, 9))
LINES = st.lists(
    st.tuples(AMOUNT, st.sampled_from([TEN, Decimal(19)]), st.booleans()), min_size=1, max_size=5
)


@example([(-5, TEN, False), (6, TEN, True)], [1], False)
@settings(max_examples=200, deadline=None)
@given(LINES, st.lists(st.integers(1, 60_000), max_size=3), st.booleans())
def test_nothing_is_made_up_and_a_draft_can_be_settled_again(
    lines: list[tuple[int, Decimal, bool]], amounts: list[int], mixed: bool
) -> None:
    bill = cart(
        *(
            taxed(amount, rate, inclusive=inside, name=f"l{n}")
            for n, (amount, rate, inside) in enumerate(lines)
        ),
        credits="before_tax",
    )
    grants = [given_for_nothing(f"g{n}", str(Decimal(amount) / 100)) for n, amount in enumerate(amounts)]
    if mixed:
        grants.append(stored(grant("paid", "100")))
    account = CreditAccount(list(grants))
    found = account.draw(bill, past=None, entry_date=date(2026, 2, 1))
    assert parse_invoice(invoice_text(found)) == found  # sums of lines, groups and total agree
    assert all(left >= 0 for left in account.remaining.values())
    off = sum(entry.amount_minor for each in found.lines for entry in each.allowances)
    drawn = sum(entry.amount_minor for entry in found.drawn_credit)
    assert sum(entry.amount_minor for entry in account.entries) == -off - drawn
    assert found.due_minor >= min(0, bill.gross_minor)
    assert without_credit(found) == bill
    assert settled(found, *grants) == found


@pytest.fixture(scope="module")
def checker() -> Iterator[EInvoiceChecker]:
    made = EInvoiceChecker()
    yield made
    made.close()


def welcome(world: World, amount: str = "10.00", grant_id: str = "welcome", **more: Any) -> None:
    grant_credit(
        world.ledger,
        {
            "grant_id": grant_id,
            "customer_id": "acme",
            "name": "Welcome",
            "kind": "promotional",
            "currency": "EUR",
            "amount": amount,
            "cost_basis": "0",
            "effective_from": "2025-01-01",
            **more,
        },
        now=LONG_AGO,
    )


def proved(world: World) -> None:
    assert verify_books(world.ledger).broken == ()
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []


def prepared(world: World, **plan: Any) -> World:
    """A fee of 30.00 and calls, 10.00 given for nothing and 5.00 bought, taxed at 19 %."""
    setting(world, customer=BUYER, **SELLER)
    world.plan(MONTHLY_FEE, CALLS, credits="before_tax", **plan)
    world.contract()
    welcome(world)
    welcome(world, "5.00", "bought", kind="paid", cost_basis="5.00", name="Bought")
    return world


def rows_of(world: World) -> list[tuple[int, int]]:
    """(net, taken off) of every invoice line on record, invoice by invoice."""
    off = select(LINE_ALLOWANCES.c.line_id, LINE_ALLOWANCES.c.amount_minor)
    with world.ledger.connect() as connection:
        taken = {row.line_id: row.amount_minor for row in connection.execute(off)}
        of = INVOICE_LINES.c
        lines = connection.execute(select(INVOICE_LINES).order_by(of.invoice_id, of.position)).all()
    return [(row.amount_minor, taken.get(row.line_id, 0)) for row in lines]


def second(world: World) -> StoredInvoice:
    return world.invoices()[-1]


def test_a_run_takes_it_off_the_lines_and_everything_else_agrees(any_world: World) -> None:
    world = prepared(any_world)
    shown = preview_contract(
        contract_id="c1",
        at=at("2025-01-14T23:00"),
        event_store=world.event_store,
        ledger=world.ledger,
    )
    world.bill("2025-01-15")
    (stored_invoice,) = world.invoices()
    assert tax_lines(stored_invoice) == ["S 19 % on 2000: 380", "net 2000 gross 2380 due 1880"]
    assert (shown.total_minor, shown.tax_minor, shown.due_minor) == (2000, 380, 1880)
    assert invoice_text(stored_invoice.invoice) == stored_invoice.text
    assert rows_of(world) == [(2000, 1000)]
    entries = entries_of(world.ledger, ["welcome"])
    assert [(entry.kind, entry.amount_minor) for entry in entries] == [
        ("granted", 1000),
        ("taken_off", -1000),
    ]
    assert balance_on(entries, date(2025, 2, 1)).drawn_minor == 1000
    proved(world)


def test_a_draft_shows_it_and_is_issued_as_if_at_once(world: World) -> None:
    world = prepared(world)
    world.bill("2025-01-15", issue=False)
    (draft,) = world.invoices()
    assert tax_lines(draft) == ["S 19 % on 2000: 380", "net 2000 gross 2380 due 1880"]
    welcome(world, "4.00", "more")  # given before it is issued
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-01-16"), series_prefix="INV"
    )
    assert tax_lines(issued) == ["S 19 % on 1600: 304", "net 1600 gross 1904 due 1404"]
    assert rows_of(world) == [(1600, 1400)]
    assert (issued.summary.total_minor, issued.summary.tax_minor) == (1600, 304)
    proved(world)


def test_late_usage_adjusts_by_what_was_rated_and_not_by_what_was_given(world: World) -> None:
    world = prepared(world)
    welcome(world, "1.00", "calls", charge_ids=["calls"])
    world.bill("2025-02-15")
    assert rows_of(world)[0] == (2000, 1000)
    world.events(("call", "c1-subject", "2025-02-01", "50"))
    world.bill("2025-03-15")
    adjusted = [each for each in second(world).invoice.lines if each.adjusts is not None]
    assert [each.amount_minor for each in adjusted] == [50]
    proved(world)


@pytest.mark.parametrize("inclusive", [False, True])
def test_a_correction_in_review_settles_it_again(world: World, inclusive: bool) -> None:
    world = prepared(world, prices_include_tax=inclusive)
    rules(world, policy="all", reviewers=["anna"])
    world.bill("2025-01-15")
    draft = draft_of(world, "c1")
    line_id = draft.invoice.lines[0].line_id
    send_back(world.ledger, draft.summary.invoice_id, person("anna"), reason="25 was promised", now=NOW)
    wanted = CorrectionRequest(line_id=line_id, amount=Decimal("25"), reason="promised")
    correct(world.ledger, draft.summary.invoice_id, person("clerk"), wanted, now=NOW)
    shown = draft_of(world, "c1")
    assert shown.invoice.gross_minor == (1500 if inclusive else 1785)
    assert sum(off for _, off in rows_of(world)) == 1000
    assert sum(net for net, _ in rows_of(world)) == shown.invoice.total_minor == shown.summary.total_minor
    submit(world.ledger, draft.summary.invoice_id, person("clerk"), reason="25 it is", now=NOW)
    approve(world.ledger, draft.summary.invoice_id, person("anna"), reason="", now=NOW)
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-01-16"), series_prefix="INV"
    )
    assert issued.invoice.gross_minor == shown.invoice.gross_minor
    proved(world)


@pytest.mark.parametrize("inclusive", [False, True])
def test_the_e_invoice_and_the_credit_notes_are_right(
    checker: EInvoiceChecker, world: World, inclusive: bool
) -> None:
    world = prepared(world, prices_include_tax=inclusive)
    world.bill("2025-02-15")
    issued = world.invoices()[0]
    document = electronic_invoice(issued.invoice, profile="xrechnung")
    assert errors(checker, document) == []
    assert [allowance.reason for allowance in document.lines[0].allowances] == (
        [] if inclusive else ["Welcome"]
    )
    assert "Welcome" in pdf_text(issued)
    number = str(issued.summary.number)
    notes = [credit(world, number, amount="8.00"), credit(world, number)]
    electronic = [electronic_credit_note(orjson.loads(note.text), profile="xrechnung") for note in notes]
    assert [errors(checker, entry) for entry in electronic] == [[], []]
    assert sum(entry.gross for entry in electronic) == document.gross
    back = [orjson.loads(note.text)["put_back_credit"][0]["amount_minor"] for note in notes]
    assert sum(back) == 1000
    if not inclusive:
        assert back == [400, 600]  # 8.00 of 20.00 net
    assert get_grant(world.ledger, "welcome").remaining_minor == 1000 - sum(
        off for _, off in rows_of(world)[1:]
    )
    proved(world)


def test_a_bill_that_comes_to_nothing_gives_it_all_back_when_it_is_void(world: World) -> None:
    world = prepared(world)
    welcome(world, "20.00", "rest")
    world.bill("2025-01-15")
    (free,) = world.invoices()
    assert tax_lines(free) == ["S 19 % on 0: 0", "net 0 gross 0 due 0"]
    note = credit(world, str(free.summary.number))
    assert note.summary.voids
    assert {key: get_grant(world.ledger, key).remaining_minor for key in ("welcome", "rest")} == {
        "welcome": 1000,
        "rest": 2000,
    }
    proved(world)


def test_credit_before_tax_that_went_back_with_a_credit_note_is_not_given_back_as_money(world: World) -> None:
    """Calls of 20.00, of which 10.00 were given for nothing; the invoice is voided, then five were too many:
    neither 5.00 of the 10.00 that went back to the grant nor of what was credited is owed."""
    sender = Sender(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALLS, credits="before_tax")
    world.contract(**JANUARY)
    sender.calls(("one", "c1", "2025-01-10", "1880"))  # with the 120 of the setting
    welcome(world)
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    (stored,) = world.invoices()
    assert stored.summary.total_minor == 1000
    credit(world, stored.summary.invoice_id, now=at("2025-02-03"))
    sender.received_at = at("2025-02-05")
    sender.correct("one", "1380")
    report = world.bill("2025-03-01", now=at("2025-03-01T06:00"))
    assert [entry.reason_code for entry in report.held] == ["adjustment_refused"]


def test_what_a_later_bill_gave_back_takes_no_credit_along(world: World) -> None:
    """100.00 off ten seats of 310.00; the contract ends on the 22nd, and its last bill takes the seats back
    and bills them for 21 days. A credit note of the fee then puts nothing back of the 100.00."""
    seats = Seats(world)
    setting(world, customer=BUYER, **SELLER)
    world.plan(SEATS, MONTHLY_FEE, credits="before_tax")
    world.contract(**JANUARY)
    welcome(world, "100.00")
    seats.send("c1", "2025-01-01T00:00 set 10")
    world.bill("2025-01-01")
    world.contract(**JANUARY, end_date=date(2025, 1, 22))
    world.bill("2025-01-22")
    first = world.invoices()[0]
    assert rows_of(world)[0] == (21000, 10000)
    note = credit(world, first.summary.invoice_id, now=at("2025-02-03"))
    assert [(line["charge_id"], line["amount_minor"]) for line in orjson.loads(note.text)["lines"]] == [
        ("fee", -2032)
    ]
    assert get_grant(world.ledger, "welcome").remaining_minor == 0
    proved(world)
