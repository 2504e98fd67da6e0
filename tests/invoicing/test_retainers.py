"""Goal: a retainer is a fee in advance that buys credit for its period: usage draws it down, what goes beyond
is billed at the charge's own price, what is left is carried over or lapses, and a statement shows it all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from ingest.errors import BrokenState, InvalidDocument
from ingest.meter import Meter
from ingest.meter_store import save_meter
from invoicing.billed_time import contract_change_issues
from invoicing.credit_balance import balance_on
from invoicing.credit_store import entries_of, get_grant, grants_of_customer
from invoicing.history import BillingDates
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.preview import preview_contract
from invoicing.rerate import rerate
from invoicing.retainer_statement import RetainerPeriod, retainer_statement
from invoicing.what_if import what_if
from invoicing.what_if_variant import PriceVariant
from rating.agreement import agreed_plan
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line, reprice_line
from rating.price_plan import PricePlan
from rating.retainer import DatedRetainer
from rating.store import get_rated_line
from tests.invoicing.credit_case import credit_story
from tests.invoicing.support import CALLS
from tests.invoicing.test_adjustments import Sender
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen
from tests.rating.plans import plan, usage_charge

HOURS = {
    "charge_id": "hours",
    "name": "Hours",
    "kind": "usage",
    "meter_id": "hours",
    "unit": "hour",
    "price": {"model": "per_unit", "unit_price": "120"},
}
HOUR_METER = Meter(meter_id="hours", event_type="work", aggregation="sum", unit="hour", group_by=("project",))
SUPPORT = {"retainer_id": "support", "amount": "10000", "charge_ids": ["hours"], "statement_by": "project"}


def law_firm(world: World, *months: Sequence[int], **retainer: Any) -> None:
    """10,000.00 a month in advance from 1 January 2025, hours at 120.00; so many hours on each project."""
    save_meter(world.ledger, HOUR_METER, now=LONG_AGO)
    world.plan(HOURS)
    world.contract(start_date=date(2025, 1, 1), retainers=[{**SUPPORT, **retainer}])
    for month, projects in enumerate(months, start=1):
        for project, worked in zip("ABC", projects, strict=False):
            event = ("work", "c1-subject", f"2025-{month:02}-10", str(worked), {"project": project})
            world.events(event)


def statement(world: World) -> list[RetainerPeriod]:
    return retainer_statement(world.ledger, "c1")


def totals(world: World) -> list[tuple[str, int, int, int]]:
    return [
        (str(entry.billing_date), entry.total_minor, entry.credit_minor, entry.due_minor)
        for entry in (stored.summary for stored in world.invoices())
    ]


@pytest.mark.requirement("CON-12")
@pytest.mark.requirement("RAT-04")
@pytest.mark.requirement("GEN-11")
def test_ninety_two_hours_over_three_projects(any_world: World) -> None:
    """The golden case: 92 h at 120.00 are 11,040.00, of which the retainer pays 10,000.00."""
    world = any_world
    law_firm(world, (40, 30, 22))
    world.bill("2025-01-01")
    world.bill("2025-02-01")
    first, second = world.invoices()
    assert readable(first) == ["2025-01-01 retainer:support 2025-01-01..2025-02-01 1 unit 10000.00"]
    assert (first.invoice.lines[0].description, first.invoice.lines[0].price_source) == (
        "Retainer",
        "contract",
    )
    assert sorted(readable(second)) == [
        "2025-02-01 hours A 2025-01-01..2025-02-01 40 hour 4800.00",
        "2025-02-01 hours B 2025-01-01..2025-02-01 30 hour 3600.00",
        "2025-02-01 hours C 2025-01-01..2025-02-01 22 hour 2640.00",
        "2025-02-01 retainer:support 2025-02-01..2025-03-01 1 unit 10000.00",
    ]
    # February's retainer is not paid with January's
    assert (second.invoice.total_minor, second.invoice.credit_minor, second.invoice.due_minor) == (
        2104000,
        1000000,
        1104000,
    )
    january = statement(world)[0]
    assert [(row.key, str(row.quantity), row.amount_minor) for row in january.used] == [
        ("A", "40", 480000),
        ("B", "30", 360000),
        ("C", "22", 264000),
    ]
    assert sum(row.quantity for row in january.used) == 92
    assert (january.granted_minor, january.used_minor, january.drawn_minor) == (1000000, 1104000, 1000000)
    assert (january.overage_minor, january.remaining_minor) == (104000, 0)


@pytest.mark.parametrize(
    ("carry_over", "february_due", "left", "carried_out"),
    [
        (None, 104000, 0, 0),
        ({}, 0, 56000, 160000),
        ({"maximum": "500"}, 54000, 0, 50000),
        ({"maximum": "500", "days": 28}, 54000, 0, 50000),
    ],
)
@pytest.mark.requirement("CON-12")
@pytest.mark.requirement("RAT-04")
def test_carry_over_on_and_off(
    world: World, carry_over: dict[str, Any] | None, february_due: int, left: int, carried_out: int
) -> None:
    """January leaves 1,600.00 of 10,000.00; February comes to 11,040.00. All in one late run."""
    law_firm(world, (70,), (40, 30, 22), carry_over=carry_over)
    world.bill("2025-03-01")
    january, february = statement(world)[:2]
    assert (january.used_minor, january.remaining_minor, january.overage_minor) == (840000, 160000, 0)
    assert (january.carried_over_minor, january.lapsed_minor) == (carried_out, 160000 - carried_out)
    assert (february.carried_in_minor, february.overage_minor) == (carried_out, february_due)
    assert statement(world)[2].carried_in_minor == left
    assert sum(entry.remaining_minor for entry in grants_of_customer(world.ledger, "acme")[:2]) == left
    assert totals(world)[-1][3] == 1000000 + february_due  # March's retainer is due as well
    entries = entries_of(
        world.ledger, [entry.grant.grant_id for entry in grants_of_customer(world.ledger, "acme")]
    )
    for month in range(1, 13):
        found = balance_on(entries, date(2025, month, 1))
        assert found.recognised_cost + found.remaining_cost == found.committed_cost


def test_one_run_a_month_and_one_late_run_come_to_the_same(world: World) -> None:
    law_firm(world, (70,), (40, 30, 22), carry_over={})
    for day in ("2025-01-01", "2025-02-01", "2025-03-01"):
        world.bill(day)
    assert totals(world) == [
        ("2025-01-01", 1000000, 0, 1000000),
        ("2025-02-01", 1840000, 840000, 1000000),
        ("2025-03-01", 2104000, 1104000, 1000000),
    ]
    assert get_grant(world.ledger, "c1:support:2025-01-01:rollover").remaining_minor == 56000


@pytest.mark.parametrize(("hours", "overage"), [(112, 1440_00), (88, 0)])
@pytest.mark.requirement("RAT-04")
def test_hours_are_retained_at_the_price_of_their_charge(world: World, hours: int, overage: int) -> None:
    """100 h for 10,000.00, beyond them 120.00 each."""
    law_firm(world, (hours,), units="100")
    world.bill("2025-02-01")
    january = statement(world)[0]
    assert (january.granted_minor, january.overage_minor) == (1200000, overage)
    granted = get_grant(world.ledger, "c1:support:2025-01-01")
    assert (granted.amount_minor, granted.cost_minor) == (1200000, 1000000)
    assert granted.origin_id == world.invoices()[0].invoice.lines[0].line_id


def test_part_of_a_period_buys_part_of_the_credit() -> None:
    """17 of 31 days of 310.00 are 170.00."""
    story = credit_story(
        {
            "plan": {"charges": [usage_charge("calls", {"model": "per_unit", "unit_price": "1"})]},
            "contract": {
                "start_date": "2026-01-15",
                "billing": {"anchor_date": "2026-01-01"},
                "retainers": [{"retainer_id": "r", "amount": "310"}],
            },
            "usage": [{"day": "2026-01-20", "meter_id": "calls", "quantity": 200}],
            "as_of": "2026-02-01",
        }
    )
    assert story == [
        "2026-01-15 total 170.00, due 170.00",
        "2026-02-01 total 510.00, c:r:2026-01-15 170.00, due 340.00",
    ]


def test_a_trial_sells_no_credit() -> None:
    story = credit_story(
        {
            "plan": {"charges": [usage_charge("calls", {"model": "per_unit", "unit_price": "1"})]},
            "contract": {
                "start_date": "2026-01-01",
                "trial_days": 31,
                "retainers": [{"retainer_id": "r", "amount": "50", "carry_over": {}}],
            },
            "usage": [{"day": "2026-02-20", "meter_id": "calls", "quantity": 80}],
            "as_of": "2026-03-01",
        }
    )
    assert story[-1] == "2026-03-01 total 130.00, c:r:2026-02-01 50.00, due 80.00"


def test_the_price_of_a_retainer_is_explained_and_priced_again(world: World) -> None:
    law_firm(world)
    world.bill("2025-01-01")
    line = get_rated_line(world.event_store, world.invoices()[0].invoice.lines[0].line_id)
    agreement = get_agreement(world.ledger, line["agreement"])
    plan = get_plan_version(world.ledger, "gold", 1).plan
    assert "agreed in contract c1" in explain_line(line, plan, agreement=agreement).to_text()
    assert reprice_line(line, agreed_plan(plan, agreement), agreement) == 0


def test_a_preview_of_months_not_billed_yet_sells_and_draws(world: World) -> None:
    law_firm(world, (70,), (40, 30, 22), carry_over={})
    seen = preview_contract(
        contract_id="c1", at=at("2025-02-28T12:00"), event_store=world.event_store, ledger=world.ledger
    )
    assert (seen.total_minor, seen.credit_minor) == (3000000 + 840000 + 1104000, 840000 + 1104000)
    assert grants_of_customer(world.ledger, "acme") == []


def test_rating_again_and_what_if_know_the_retainer(world: World) -> None:
    law_firm(world, (70,))
    world.bill("2025-02-01")
    dates = BillingDates(date(2025, 1, 1), date(2025, 2, 2))
    asked: dict[str, Any] = {
        "dates": dates,
        "contract_ids": None,
        "event_store": world.event_store,
        "stored_usage": None,
        "ledger": world.ledger,
        "now": at("2025-02-10"),
        "progress": unseen,
    }
    assert rerate(**asked).changes == ()
    plan = get_plan_version(world.ledger, "gold", 1).plan
    dear = {**HOURS, "price": {"model": "per_unit", "unit_price": "130"}}
    variant = PricePlan.model_validate({**plan.model_dump(), "charges": [dear]})
    answer = what_if(variants=[PriceVariant("dear", (variant,))], **asked)
    assert (answer.now_minor.tolist(), answer.minor.tolist()) == ([2840000], [[2910000]])


def test_credit_is_sold_once_though_its_price_is_put_right(world: World) -> None:
    """A retainer of 100.00 and 100.00 of calls share 50.00 off. With 300.00 of calls, of which 200.00 come
    late, the retainer's share is 12.50 instead of 25.00: its price is adjusted, its credit is sold."""
    world.plan(CALLS | {"price": {"model": "per_unit", "unit_price": "1"}, "charge_id": "calls"})
    less = {"discount_id": "d", "name": "Less", "amount": "50"}
    world.contract(
        start_date=date(2025, 1, 1),
        retainers=[{"retainer_id": "r", "amount": "100", "effective_from": date(2025, 2, 1)}],
        discounts=[less],
    )
    sender = Sender(world)
    sender.calls(("one", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    sender.calls(("late", "c1", "2025-01-20", "200"))
    assert world.bill("2025-03-01", now=at("2025-03-01T06:00")).held == ()
    priced = [
        (line.charge_id, line.charge_kind, line.amount_minor)
        for stored in world.invoices()
        for line in stored.invoice.lines
        if line.charge_id.startswith("retainer")
    ]
    assert priced[0] == ("retainer:r", "recurring", 7500)
    assert ("retainer:r", "adjustment", 1250) in priced
    grants = grants_of_customer(world.ledger, "acme")
    assert [(one.grant.effective_from, one.amount_minor, one.cost_minor) for one in grants] == [
        (date(2025, 2, 1), 10000, 7500),
        (date(2025, 3, 1), 10000, 5000),
    ]
    assert len(statement(world)) == 2
    assert verify_journal(world.ledger) == []
    assert rows(again(world, end="2025-12-01")) == []


def test_a_draft_sells_its_credit_when_it_is_issued(world: World) -> None:
    law_firm(world, (70,))
    world.bill("2025-02-01", issue=False)
    assert grants_of_customer(world.ledger, "acme") == []
    for stored in world.invoices():
        issue_invoice(
            world.ledger, invoice_id=stored.summary.invoice_id, now=at("2025-02-03"), series_prefix="INV"
        )
    assert totals(world) == [("2025-01-01", 1000000, 0, 1000000), ("2025-02-01", 1840000, 840000, 1000000)]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "below zero": ({"amount": "-1"}, "credit_amount", "amount"),
    "credit and units": ({"credit": "1", "units": "1"}, "retainer_worth", ""),
    "units beyond counting": ({"units": "1000000000"}, "retainer_worth", "units"),
    "units of anything": ({"units": "1", "charge_ids": []}, "retainer_worth", "units"),
    "no such charge": ({"charge_ids": ["fax"]}, "unknown_charge", "charge_ids[0]"),
    "no such key": ({"statement_by": "matter"}, "unknown_group_key", "statement_by"),
    "before the contract": ({"effective_from": "2024-12-31"}, "before_contract", "effective_from"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_retainer_that_cannot_be_is_refused(world: World, name: str) -> None:
    changes, code, field = REFUSED[name]
    with pytest.raises(InvalidDocument) as caught:
        law_firm(world, **changes)
    found = [(issue.reason_code, issue.pointer) for issue in caught.value.issues]
    assert found == [(code, f"retainers[0].{field}".rstrip("."))]


def test_the_ids_of_retainers_are_theirs_alone(world: World) -> None:
    with pytest.raises(InvalidDocument, match="charge_id_taken"):
        world.plan({**CALLS, "charge_id": "retainer:x"})


def test_a_retainer_that_is_paid_for_stays(world: World) -> None:
    law_firm(world)
    world.bill("2025-01-01")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-01",
        "time_zone": "UTC",
    }

    def save(*retainers: dict[str, Any]) -> bool:
        changed = document | {"retainers": retainers}
        saved = save_contract(world.ledger, changed, now=LONG_AGO, further_rules=contract_change_issues)
        return saved.created

    with pytest.raises(InvalidDocument) as caught:
        save({**SUPPORT, "amount": "9000"})
    assert [issue.pointer for issue in caught.value.issues] == ["retainers"]
    assert save(
        {**SUPPORT, "effective_until": "2025-02-01"},
        {**SUPPORT, "amount": "9000", "effective_from": "2025-02-01"},
    )


def test_a_plan_version_keeps_a_price_for_retained_units(world: World) -> None:
    """Without one the run that sells them could not go on, for no contract."""
    law_firm(world, units="100")
    tiers = [{"up_to": "10", "unit_price": "120"}, {"unit_price": "100"}]
    tiered = {**HOURS, "price": {"model": "graduated", "tiers": tiers}}
    for charges in ([tiered], [CALLS]):
        with pytest.raises(InvalidDocument) as refused:
            world.plan(*charges, start="2025-03-01")
        assert [issue.reason_code for issue in refused.value.issues] == ["retainer_broken"]
    world.contract(
        start_date=date(2025, 1, 1), retainers=[{**SUPPORT, "units": "100", "effective_until": "2025-03-01"}]
    )
    world.plan(tiered, start="2025-03-01")
    world.bill("2025-02-01")
    assert world.bill("2025-03-01").held == ()


def test_units_without_a_price_are_said_by_name() -> None:
    """A plan version saved before such versions were refused."""
    retainer = DatedRetainer.model_validate({**SUPPORT, "units": "100", "charge_ids": ["hours"]})
    with pytest.raises(BrokenState, match=r"'support' buys units of hours.*plan 'gold'.*no such charge"):
        retainer.worth(plan(CALLS))
