"""Goal: months of revenue follow usage where promotional credit paid for it."""

from __future__ import annotations

from datetime import date

import pytest

from invoicing.journal_check import verify_journal
from invoicing.posting_store import post_missing
from tests.invoicing.support import CALLS
from tests.invoicing.test_accrual import ties
from tests.invoicing.test_adjustments import Sender
from tests.invoicing.test_credit_before_tax import welcome
from tests.invoicing.test_einvoice_billing import BUYER, SELLER
from tests.invoicing.test_journal import without_journal
from tests.invoicing.test_month_shares import (
    revenue,
)
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at


@pytest.mark.requirement("REP-04")
@pytest.mark.parametrize("inclusive", [False, True])
def test_a_line_and_its_adjustments_follow_usage_after_credit_before_tax(
    world: World, inclusive: bool
) -> None:
    """1,000 calls of January at 10.00, of which 5.00 are given; then as many of February, which nothing pays
    for: 15.00 in all, half of it of each month. With prices that include 19 % tax they are 4.20 and 8.40."""
    setting(world, customer=BUYER, **SELLER)
    world.plan(CALLS, credits="before_tax", prices_include_tax=inclusive)
    world.contract(start_date=date(2025, 1, 15))
    welcome(world, "5.00")
    world.events(("call", "c1-subject", "2025-01-21", "880"))  # and 120 of ``setting``
    world.bill("2025-02-15", now=at("2025-02-16"))
    assert revenue(world) == [f"calls 2025-01 {'4.20' if inclusive else '5.00'}"]
    world.events(("call", "c1-subject", "2025-02-03", "1000"))
    world.bill("2025-03-15", now=at("2025-03-16"))
    half = "6.30" if inclusive else "7.50"
    assert revenue(world) == [f"calls 2025-01 {half}", f"calls 2025-02 {half}"]
    ties(world)


@pytest.mark.requirement("REP-04")
def test_a_line_and_its_adjustments_follow_usage_after_credit_given_for_nothing(any_world: World) -> None:
    """800 calls of January and 200 of February are 10.00, half of it paid by credit that cost nothing: 4.00
    and 1.00. Then January turns out to be 100, and February 1,000: 6.00 of 11.00 are left, an eleventh of
    January."""
    world = any_world
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(start_date=date(2025, 1, 15))
    welcome(world, "5.00")
    sender.calls(("one", "c1", "2025-01-20", "800"), ("two", "c1", "2025-02-03", "200"))
    world.bill("2025-02-15", now=at("2025-02-16"))
    assert revenue(world) == ["calls 2025-01 4.00", "calls 2025-02 1.00"]
    sender.received_at = at("2025-02-20")
    sender.correct("one", "100")
    sender.correct("two", "1000")
    world.bill("2025-03-15", now=at("2025-03-16"))
    assert revenue(world) == ["calls 2025-01 0.55", "calls 2025-02 5.45"]
    ties(world)
    shown = revenue(world)
    without_journal(world.ledger)
    assert post_missing(world.ledger).documents == 2
    assert revenue(world) == shown
    assert verify_journal(world.ledger) == []
