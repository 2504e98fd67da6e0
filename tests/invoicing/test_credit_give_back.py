"""Goal: what a bill below zero gives back goes first to the credit that paid for it: credit never becomes
money, is never given back twice, and money that was paid is never turned into credit."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from ingest.errors import Conflict
from invoicing.audit_verify import verify_books
from invoicing.credit import StoredGrant
from invoicing.credit_account import CreditAccount
from invoicing.credit_give_back import Past
from invoicing.credit_note import CreditBack, CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.credit_return import return_credit
from invoicing.credit_store import grants_of_customer
from invoicing.document import printed
from invoicing.invoice import Invoice, InvoiceAdjusts, InvoiceLine, parse_invoice
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.outstanding import outstanding
from invoicing.preview import preview_contract
from tests.invoicing.credit_case import given_for_nothing, grant, invoice, line, stored
from tests.invoicing.support import CALLS
from tests.invoicing.test_adjustments import JANUARY, Sender
from tests.invoicing.test_amendments import check_every_line, fee, save
from tests.invoicing.test_credits import give
from tests.invoicing.world import World, at

APRIL_16 = date(2025, 4, 16)
PRESENT = {"kind": "promotional", "cost_basis": "0"}


def drawn(bill: Invoice) -> list[tuple[str, int]]:
    return [(entry.grant_id, entry.amount_minor) for entry in bill.drawn_credit]


def left(world: World) -> dict[str, int]:
    return {each.grant.grant_id: each.remaining_minor for each in grants_of_customer(world.ledger, "acme")}


def proved(world: World) -> None:
    check_every_line(world)
    assert verify_journal(world.ledger) == []
    assert not verify_books(world.ledger).broken


@pytest.mark.requirement("CON-12")
@pytest.mark.parametrize(
    ("credit", "gone_back", "due"), [("30", 1500, 0), ("18", 1500, 0), ("10", 1000, -500)]
)
def test_an_early_end_gives_credit_back_before_money(
    world: World, credit: str, gone_back: int, due: int
) -> None:
    """30.00 for April, ended on 16 April: 15.00 go back, to credit as far as it was drawn."""
    world.plan(fee("30"))
    save(world)
    give(world, amount=credit, **PRESENT)
    world.bill("2025-04-01")
    save(world, end_date=APRIL_16)
    preview = preview_contract(
        contract_id="c1", at=at("2025-04-16T12:00"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-04-16")
    last = world.invoices()[-1]
    assert (drawn(last.invoice), last.invoice.due_minor) == ([("g", -gone_back)], due)
    assert (preview.drawn_credit, preview.due_minor) == (last.invoice.drawn_credit, due)
    assert (last.summary.credit_minor, last.summary.due_minor) == (-gone_back, due)
    assert parse_invoice(last.text) == last.invoice
    assert left(world) == {"g": gone_back}
    open_minor = outstanding_minor(world)
    assert open_minor == 3000 - int(Decimal(credit) * 100) + due
    proved(world)
    assert world.bill("2025-05-01").invoiced == 0


def outstanding_minor(world: World) -> int:
    found = outstanding(world.ledger, as_of=date(2026, 1, 1))
    return sum(row.open_minor for row in found.totals)


@pytest.mark.requirement("TAX-07")
def test_credit_comes_back_once_by_credit_note_and_by_bill(world: World) -> None:
    """Of 30.00 paid with credit a credit note gives back 10.00 and the end 15.00: a credit note of the rest
    5.00, and no more."""
    world.plan(fee("30"))
    save(world)
    give(world, amount="30", **PRESENT)
    world.bill("2025-04-01", now=at("2025-04-01"))
    number = str(world.invoices()[0].summary.number)
    credit_note(world, number, "2025-04-10", amount="10")
    save(world, end_date=APRIL_16)
    world.bill("2025-04-16", now=at("2025-04-16"))
    bill = world.invoices()[-1].invoice
    assert (bill.gross_minor, drawn(bill)) == (-1500, [("g", -1500)])
    credit_note(world, number, "2025-05-01")
    assert left(world) == {"g": 3000}
    assert outstanding_minor(world) == 0
    proved(world)


def test_what_a_bill_gave_back_meanwhile_is_not_given_back_again(world: World) -> None:
    """A credit note that was drafted before the bill."""
    world.plan(fee("30"))
    save(world)
    give(world, amount="30", **PRESENT)
    world.bill("2025-04-01")
    first = world.invoices()[0].invoice
    save(world, end_date=APRIL_16)
    world.bill("2025-04-16")
    with (
        pytest.raises(Conflict, match="Send the request again") as caught,
        world.ledger.begin() as connection,
    ):
        return_credit(
            connection,
            [CreditBack("g", "Credit g", 3000)],
            put_back=[],
            customer_id="acme",
            invoice_id=first.invoice_id,
            credit_note_id="cn",
            line_ids=[],
            issue_date=date(2026, 1, 2),
            now=at("2026-01-02"),
        )
    assert caught.value.reason_code == "credit_changed"
    assert left(world) == {"g": 1500}


def credit_note(world: World, number: str, day: str, **wanted: str) -> None:
    request = CreditNoteRequest.model_validate({"reason": "agreed", **wanted})
    issue_credit_note(world.ledger, number, request, Issuing("CN", "ada", None, at(day)))


def test_credit_that_has_expired_goes_on_to_a_new_grant(world: World) -> None:
    """As with a credit note: what comes back on a day after its end never expires."""
    world.plan(fee("30"))
    save(world)
    give(world, amount="30", expires_on="2025-04-10", **PRESENT)
    world.bill("2025-04-01", now=at("2025-04-01"))
    save(world, end_date=APRIL_16)
    world.bill("2025-04-16", now=at("2025-04-16"))
    bill = world.invoices()[-1].invoice
    assert left(world) == {"g": 0, f"g:{bill.invoice_id}": 1500}
    assert [entry.remaining_minor for entry in bill.drawn_credit] == [1500]
    assert bill.due_minor == 0
    proved(world)


def test_lowered_usage_gives_back_credit_of_its_own_bill_only(world: World) -> None:
    """January was paid with credit and February with money: what comes off February is owed in money."""
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(**JANUARY)
    give(world, amount="10", **PRESENT)
    sender.calls(("jan", "c1", "2025-01-10", "1000"), ("feb", "c1", "2025-02-10", "2000"))
    world.bill("2025-03-01")
    sender.correct("feb", value="500")
    world.bill("2025-04-01")
    sender.correct("jan", value="400")
    world.bill("2025-05-01")
    bills = [stored.invoice for stored in world.invoices()]
    assert [(bill.gross_minor, bill.credit_minor) for bill in bills] == [
        (1000, 1000),
        (2000, 0),
        (-1500, 0),
        (-600, -600),
    ]
    assert left(world) == {"g": 600}
    proved(world)


def test_a_draft_shows_what_it_would_give_back_and_gives_it_when_issued(world: World) -> None:
    world.plan(fee("30"))
    save(world)
    give(world, amount="30", **PRESENT)
    world.bill("2025-04-01")
    save(world, end_date=APRIL_16)
    world.bill("2025-04-16", issue=False)
    draft = world.invoices()[-1]
    assert (draft.invoice.state, draft.invoice.due_minor, left(world)) == ("draft", 0, {"g": 0})
    issued = issue_invoice(
        world.ledger, invoice_id=draft.invoice.invoice_id, now=at("2026-01-01"), series_prefix="INV"
    )
    assert issued.invoice.drawn_credit == draft.invoice.drawn_credit
    assert left(world) == {"g": 1500}
    shown = printed(issued.invoice)
    assert "Back to credit: Credit g (15.00 left)" in str(shown)
    proved(world)


def test_a_bill_above_zero_gives_no_credit_back(world: World) -> None:
    """16.00 of calls less 15.00 of the fee: 1.00 is left to pay."""
    world.plan(fee("30"), CALLS)
    save(world)
    give(world, amount="30", **PRESENT)
    world.bill("2025-04-01")
    save(world, end_date=APRIL_16)
    world.events(("call", "c1-subject", "2025-04-05", "1600"))
    world.bill("2025-04-16")
    assert (drawn(world.invoices()[-1].invoice), left(world)) == ([], {"g": 0})
    assert world.invoices()[-1].invoice.due_minor == 100


def test_what_a_reduction_paid_for_goes_back_to_credit_too(world: World) -> None:
    """15.00 of the fee that credit paid were set off against 16.00 of calls, of which 1.00 was paid in money.
    When the calls turn out to be none, 15.00 are credit again and 1.00 is owed."""
    sender = Sender(world)
    world.plan(fee("30"), CALLS)
    save(world)
    give(world, amount="30", **PRESENT)
    world.bill("2025-04-01")
    save(world, end_date=APRIL_16)
    sender.calls(("call", "c1", "2025-04-05", "1600"))
    world.bill("2025-04-16")
    sender.correct("call", value="600")
    world.bill("2025-05-01")
    sender.correct("call", value="0")
    world.bill("2025-06-01")
    bills = sorted((stored.invoice for stored in world.invoices()), key=lambda bill: bill.billing_date)
    assert [(bill.gross_minor, bill.credit_minor) for bill in bills] == [
        (3000, 3000),
        (100, 0),
        (-1000, -1000),
        (-600, -500),
    ]
    assert left(world) == {"g": 1500}
    assert outstanding_minor(world) == 0
    proved(world)


def test_the_journal_has_credit_given_back_under_the_charge_it_paid_for(world: World) -> None:
    """The fee of February was paid with credit, calls of December in money. At the end on 15 February the
    15.00 of the fee that go back to credit are no revenue less of the calls; 7.00 of calls are owed."""
    sender = Sender(world)
    world.plan(fee("30"), CALLS)
    terms = {**JANUARY, "start_date": date(2024, 12, 1)}
    world.contract(**terms)
    give(world, amount="30", effective_from="2025-02-01", **PRESENT)
    sender.calls(("dec", "c1", "2024-12-10", "1000"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-10")
    sender.correct("dec", value="300")
    world.contract(**terms, end_date=date(2025, 2, 15))
    world.bill("2025-02-15", now=at("2025-02-15T06:00"))
    last = world.invoices()[-1].invoice
    assert [(line.charge_id, line.amount_minor) for line in last.lines] == [("fee", -1500), ("calls", -700)]
    assert (drawn(last), last.due_minor) == ([("g", -1500)], -700)
    with world.ledger.connect() as connection:
        own = JOURNAL_ENTRIES.c.document_id == last.invoice_id
        of_bill = (
            select(JOURNAL_LINES.c.charge_id, func.sum(JOURNAL_LINES.c.amount_minor))
            .join(JOURNAL_ENTRIES, JOURNAL_ENTRIES.c.entry_number == JOURNAL_LINES.c.entry_number)
            .where(own, JOURNAL_LINES.c.account.in_(("revenue", "deferred", "unbilled")))
        )
        by_charge = connection.execute(of_bill.group_by(JOURNAL_LINES.c.charge_id)).all()
    assert {charge_id: minor for charge_id, minor in by_charge if minor} == {"calls": 700}
    proved(world)


def usage(number: int, amount: int, of: InvoiceLine | None = None) -> InvoiceLine:
    """A line, or an adjustment of one."""
    made = line(amount, f"charge-{number}", line_id=f"line-{number}")
    if of is None:
        return made
    nothing = Decimal(0)
    adjusts = InvoiceAdjusts(of.line_id, date(2026, 2, 1), None, None, nothing, nothing, nothing)
    return replace(made, charge_id=of.charge_id, charge_kind="adjustment", adjusts=adjusts)


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 900)), min_size=1, max_size=3)


@given(st.lists(STEPS, min_size=1, max_size=8), st.lists(st.integers(1, 1500), max_size=3))
def test_credit_is_money_at_no_time(bills: list[list[tuple[bool, int, int]]], amounts: list[int]) -> None:
    """Lines and adjustments of them in any order: never more comes back than was drawn, money is owed to the
    customer only as far as money was paid, and what came and went is what is left."""
    grants: list[StoredGrant] = [
        given_for_nothing(f"g{n}", str(Decimal(amount) / 100)) for n, amount in enumerate(amounts)
    ]
    grants.append(stored(grant("paid", "5")))
    account, whole = CreditAccount(list(grants)), {each.grant.grant_id: each.amount_minor for each in grants}
    past: list[Invoice] = []
    roots: list[tuple[InvoiceLine, int]] = []
    due = 0
    for number, steps in enumerate(bills):
        lines: list[InvoiceLine] = []
        standing = len(roots)
        for adjusting, which, amount in steps:
            line_number = len(lines) + 10 * number
            if not adjusting or not standing:
                lines.append(usage(line_number, amount))
                roots.append((lines[-1], amount))
                continue
            root, stands = roots[which % standing]
            change = -min(amount, stands) if which % 2 else amount
            roots[which % standing] = (root, stands + change)
            lines.append(usage(line_number, change, root))
        bill = invoice(*lines, invoice_id=f"i{number}", billing_date=date(2026, 2, 1))
        found = account.draw(bill, past=Past(past, {}, [], [], frozenset()), entry_date=date(2026, 2, 1))
        past.append(found)
        due += found.due_minor
        assert due >= 0  # nobody is owed more money than they paid
        for grant_id, left_minor in account.remaining.items():
            own = sum(entry.amount_minor for entry in account.entries if entry.grant_id == grant_id)
            assert 0 <= left_minor == whole[grant_id] + own <= whole[grant_id]
