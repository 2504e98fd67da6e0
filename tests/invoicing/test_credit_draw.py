"""Goal: the order in which credit is drawn, that nothing is drawn twice or beyond what is there, and that
what was paid for it is revenue to the last cent: recognised + remaining = committed, on every day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.document import validate_document
from ingest.errors import BrokenState, InvalidDocument
from invoicing.credit import CreditGrant, StoredGrant, credit_rules
from invoicing.credit_balance import balance_on
from invoicing.credit_draw import cost_used, draw_credit, drawing_order
from invoicing.invoice import Invoice
from tests.invoicing.credit_case import NEW_YEAR, Account, grant, invoice, line, stored

FEBRUARY = date(2026, 2, 1)


def drawn(billed: Invoice, *grants: CreditGrant) -> dict[str, int]:
    known = [stored(entry) for entry in grants]
    remaining = {entry.grant.grant_id: entry.remaining_minor for entry in known}
    return {
        draw.grant.grant.grant_id: draw.amount_minor
        for draw in draw_credit(billed, known, remaining=remaining)
    }


@pytest.mark.requirement("PAY-09")
def test_priority_then_expiry_then_cost_then_age_then_id() -> None:
    """Each grant differs from the one before by one rule only, and comes after it."""
    in_order = [
        grant("z", priority=1),
        grant("y", expires_on="2026-06-01"),
        grant("x", expires_on="2026-07-01", kind="promotional", cost_basis="0"),
        grant("w", expires_on="2026-07-01", cost_basis="80"),
        grant("v", expires_on="2026-07-01", effective_from="2025-12-01"),
        grant("t", expires_on="2026-07-01"),
        grant("u", expires_on="2026-07-01"),
        grant("a"),
    ]
    ordered = drawing_order([stored(entry) for entry in reversed(in_order)])
    assert [entry.grant.grant_id for entry in ordered] == [entry.grant_id for entry in in_order]


def test_each_grant_pays_in_turn_and_never_more_than_it_has() -> None:
    first, second = grant("first", "70", priority=1), grant("second", "50")
    assert drawn(invoice(line(10000)), first, second) == {"first": 7000, "second": 3000}
    assert drawn(invoice(line(20000)), first, second) == {"first": 7000, "second": 5000}
    assert drawn(invoice(line(6000)), first, second) == {"first": 6000}
    assert drawn(invoice(line(0)), first) == {}
    assert drawn(invoice(line(-500)), first) == {}


@pytest.mark.parametrize(
    ("changes", "pays"),
    [
        ({"charge_ids": ["hours"]}, 300),
        ({"contract_ids": ["c1"]}, 1000),
        ({"contract_ids": ["c2"]}, 0),
        ({"currency": "USD"}, 0),
        # January's usage counts on its last day
        ({"effective_from": "2026-01-31"}, 1000),
        ({"effective_from": "2026-02-01"}, 0),
        ({"expires_on": "2026-02-01"}, 1000),
        ({"expires_on": "2026-01-31"}, 0),
    ],
)
def test_a_grant_pays_for_what_it_is_for(changes: dict[str, Any], pays: int) -> None:
    billed = invoice(line(700), line(300, "hours"))
    assert sum(drawn(billed, grant("g", **changes)).values()) == pays


def test_a_fee_in_advance_counts_on_its_first_day() -> None:
    fee = line(1000, "fee", period_start=FEBRUARY, period_end=date(2026, 3, 1))
    assert drawn(invoice(fee), grant("g", expires_on="2026-02-02")) == {"g": 1000}
    assert drawn(invoice(fee), grant("g", expires_on="2026-02-01")) == {}


def test_usage_taken_back_lowers_what_is_drawn() -> None:
    assert drawn(invoice(line(1000), line(-400, "hours")), grant("g")) == {"g": 600}


def one_by_one(billed: Invoice, grants: Sequence[StoredGrant], left: dict[str, int]) -> dict[str, int]:
    """The rule in the plainest form: cent after cent, the first grant in order pays the first line it may."""

    def rank(known: StoredGrant) -> tuple[object, ...]:
        entry = known.grant
        per_unit = Decimal(known.cost_minor) / Decimal(known.amount_minor)
        return entry.priority, entry.expires_on or date.max, per_unit, entry.effective_from, entry.grant_id

    unpaid = [max(0, entry.amount_minor) for entry in billed.lines]
    due, paid = max(0, billed.total_minor), dict.fromkeys(left, 0)
    for known in sorted(grants, key=rank):
        entry = known.grant
        for place, item in enumerate(billed.lines):
            day = item.period_end - timedelta(days=1)
            fits = entry.effective_from <= day and (entry.expires_on is None or day < entry.expires_on)
            fits &= not entry.charge_ids or item.charge_id in entry.charge_ids
            while fits and unpaid[place] and due and left[entry.grant_id] - paid[entry.grant_id]:
                unpaid[place] -= 1
                due -= 1
                paid[entry.grant_id] += 1
    return {grant_id: amount for grant_id, amount in paid.items() if amount}


days = st.integers(-40, 60).map(lambda count: NEW_YEAR + timedelta(days=count))


@st.composite
def grants_of(draw: st.DrawFn, number: int) -> CreditGrant:
    amount = draw(st.integers(1, 40))
    cost = draw(st.one_of(st.just(0), st.just(amount), st.integers(0, amount)))
    begins = draw(days)
    lasts = draw(st.one_of(st.none(), st.integers(1, 90)))
    expires_on = None if lasts is None else begins + timedelta(days=lasts)
    rollover = None
    if expires_on is not None and draw(st.booleans()):
        most = draw(st.one_of(st.none(), st.integers(0, 40)))
        again = draw(st.one_of(st.none(), st.integers(1, 60)))
        rollover = {
            "maximum": None if most is None else Decimal(most).scaleb(-2),
            "expires_on": None if again is None else expires_on + timedelta(days=again),
        }
    return grant(
        f"g{number}",
        str(Decimal(amount).scaleb(-2)),
        cost_basis=Decimal(cost).scaleb(-2),
        priority=draw(st.integers(0, 2)),
        effective_from=begins,
        expires_on=expires_on,
        charge_ids=draw(st.sampled_from([[], [], ["calls"], ["hours"]])),
        rollover=rollover,
    )


grant_lists = st.integers(1, 5).flatmap(
    lambda count: st.tuples(*(grants_of(number) for number in range(count)))
)
amounts = st.lists(st.integers(-15, 40), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(entries=grant_lists, minor=amounts)
def test_drawing_equals_the_plain_rule(entries: Sequence[CreditGrant], minor: list[int]) -> None:
    charges = ["calls", "hours", "seats"]
    billed = invoice(*(line(amount, charge) for amount, charge in zip(minor, charges, strict=False)))
    known = [stored(entry) for entry in entries]
    left = {entry.grant.grant_id: entry.remaining_minor for entry in known}
    found = {
        draw.grant.grant.grant_id: draw.amount_minor for draw in draw_credit(billed, known, remaining=left)
    }
    assert found == one_by_one(billed, known, left)
    for draw in draw_credit(billed, known, remaining=left):
        assert sum(part for _, part in draw.lines) == draw.amount_minor
        assert all(part > 0 for _, part in draw.lines)


def test_credit_bought_at_a_discount_becomes_revenue_at_what_was_paid() -> None:
    """100.00 bought for 80.00 and used in thirds: 26.67, 26.66 and 26.67 are 80.00."""
    account = Account()
    account.give(grant("g", "100", cost_basis="80"))
    for number, amount in enumerate((3333, 3333, 3334)):
        account.bill(invoice(line(amount), invoice_id=f"i{number}"), issued_on=FEBRUARY)
    assert [entry.cost_minor for entry in account.entries[1:]] == [-2666, -2667, -2667]
    assert account.balance(FEBRUARY).recognised_cost == 8000


@settings(max_examples=200, deadline=None)
@given(amount=st.integers(1, 10**6), part=st.integers(0, 10**6), cost=st.integers(0, 10**6))
def test_a_part_of_the_cost_is_its_share_to_the_cent(amount: int, part: int, cost: int) -> None:
    known = stored(grant("g", str(Decimal(amount).scaleb(-2)), cost_basis=Decimal(cost).scaleb(-2)))
    used = min(part, amount)
    assert abs(cost_used(known, used) * amount - cost * used) * 2 <= amount
    assert (cost_used(known, 0), cost_used(known, amount)) == (0, cost)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("bill"), amounts),
        st.tuples(st.just("void"), st.integers(0, 4)),
        st.tuples(st.just("expire"), st.integers(0, 30)),
    ),
    max_size=12,
)


@settings(max_examples=250, deadline=None)
@given(entries=grant_lists, actions=steps)
@pytest.mark.requirement("CON-12")
@pytest.mark.requirement("PAY-09")
def test_recognised_and_remaining_are_what_was_committed_on_every_day(
    entries: Sequence[CreditGrant], actions: list[tuple[str, object]]
) -> None:
    account, today = Account(), NEW_YEAR
    for entry in entries:
        account.give(entry)
    for number, (action, value) in enumerate(actions):
        today += timedelta(days=9)
        if action == "bill" and isinstance(value, list):
            end = today - timedelta(days=today.day % 7)
            lines = (
                line(amount, charge, period_start=end - timedelta(days=9), period_end=end)
                for amount, charge in zip(value, ("calls", "hours", "seats"), strict=False)
            )
            billed = invoice(*lines, invoice_id=f"i{number}", billing_date=end)
            draws = account.bill(billed, issued_on=today)
            assert sum(draw.amount_minor for draw in draws) <= max(0, billed.total_minor)
        elif action == "void" and isinstance(value, int):
            account.void(list(account.grants)[value % len(account.grants)], on=today)
        elif isinstance(value, int):
            account.expire(as_of=today + timedelta(days=value))
    paid = sum(int(entry.cost_basis.scaleb(2)) for entry in entries)
    for day in account.days():
        balance = account.balance(day)
        assert balance.recognised_cost + balance.remaining_cost == balance.committed_cost
        assert (
            balance.drawn_minor + balance.expired_minor + balance.remaining_minor
            == balance.granted_minor - balance.voided_minor
        )
        assert min(balance.to_dict().values()) >= 0
    last = account.balance(date.max)
    assert last.granted_cost == paid
    assert all(amount >= 0 for amount in account.remaining().values())


def test_a_rollover_that_lost_its_other_half_is_noticed() -> None:
    account = Account()
    account.give(grant("g", expires_on="2026-02-01", rollover={}))
    account.expire(as_of=FEBRUARY)
    assert [entry.kind for entry in account.entries] == ["granted", "rolled_over", "rolled_in"]
    with pytest.raises(BrokenState):
        balance_on(account.entries[:2], FEBRUARY)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such currency": ({"currency": "XTS"}, "unknown_currency", "currency"),
    "half a cent": ({"amount": "0.005", "cost_basis": "0"}, "credit_amount", "amount"),
    "nothing": ({"amount": "0", "cost_basis": "0"}, "credit_amount", "amount"),
    "dearer than it is worth": ({"cost_basis": "101"}, "credit_cost_basis", "cost_basis"),
    "a present that was paid for": ({"kind": "promotional"}, "credit_cost_basis", "cost_basis"),
    "over before it begins": ({"expires_on": "2026-01-01"}, "end_not_after_start", "expires_on"),
    "rolls over and never expires": ({"rollover": {}}, "rollover_without_expiry", "rollover"),
    "rolls over into the past": (
        {"expires_on": "2026-02-01", "rollover": {"expires_on": "2026-02-01"}},
        "end_not_after_start",
        "rollover.expires_on",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_grant_that_cannot_be_is_refused(name: str) -> None:
    changes, code, pointer = REFUSED[name]
    with pytest.raises(InvalidDocument) as caught:
        validate_document(CreditGrant, grant(**changes), what="credit", rules=credit_rules)
    assert (code, pointer) in [(issue.reason_code, issue.pointer) for issue in caught.value.issues]
