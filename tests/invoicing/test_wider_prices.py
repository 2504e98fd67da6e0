"""Goal: tiers over a year, a contract or a pool count what lies before and beside a period."""

from __future__ import annotations

from datetime import date

import pytest

from ingest.errors import InvalidDocument
from invoicing.customer_store import save_customer
from invoicing.open_usage import keep_open_usage
from rollup.stored_usage import StoredUsage
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_special_prices import again, charge, check_lines, lines, previewed, tried
from tests.invoicing.world import LONG_AGO, World, at, readable

YEARLY = charge(
    "calls",
    {
        "model": "graduated",
        "tiers": [{"up_to": "100", "unit_price": "1", "flat_amount": "5"}, {"unit_price": "0.5"}],
    },
    tiers_count="year",
)


def used(world: World, contract_id: str, **by_day: str) -> None:
    """``_2025_01_20="60"``: so many calls that day."""
    world.events(
        *(
            ("call", f"{contract_id}-subject", day.removeprefix("_").replace("_", "-"), count)
            for day, count in by_day.items()
        )
    )


@pytest.mark.requirement("RAT-10")
@pytest.mark.parametrize("stored", [False, True])
def test_tiers_of_a_year_go_on_from_month_to_month(world: World, stored: bool) -> None:
    """60, 60 and 10 of a year are 5 + 60, 40 + 20 x 0.5 and 5, in all what 130 cost at once: 5 + 100 + 15. In
    the next year the tiers begin again."""
    world.plan(YEARLY)
    world.contract(billing={"cadence": "quarterly"}, start_date=date(2025, 1, 15))
    if stored:
        world.stored_usage = StoredUsage(world.event_store)
        keep_open_usage(world.stored_usage, ledger=world.ledger, now=at("2025-01-16"))
    used(world, "c1", _2025_01_20="60", _2025_05_01="60", _2025_08_01="10", _2026_02_01="60")
    seen = previewed(world, "2025-06-01")
    assert [line.amount_minor for line in seen.lines] == [6500, 5000]
    world.bill("2026-04-15", now=at("2026-05-01"))
    assert lines(world) == [
        "2025-04-15 calls 2025-01-15..2025-04-15 60 call 65.00",
        "2025-07-15 calls 2025-04-15..2025-07-15 60 call 50.00",
        "2025-10-15 calls 2025-07-15..2025-10-15 10 call 5.00",
        "2026-04-15 calls 2026-01-15..2026-04-15 60 call 65.00",
    ]
    _, second, third, _ = check_lines(world)
    assert "tiers count over the year: 60 call came before -> up to 120 call" in second.to_text()
    assert [(tier.number, tier.units, tier.amount) for tier in second.tiers] == [
        (1, "40", "40"),
        (2, "20", "10"),
    ]
    assert [(tier.number, tier.units, tier.amount) for tier in third.tiers] == [(2, "10", "5")]
    assert tried(world, {**YEARLY, "tiers_count": "period"}) == [6500 + 6500 + 1500]
    assert tried(world, {**YEARLY, "tiers_count": "contract"}, end="2026-05-01") == [12_000]


def test_tiers_over_the_contract_go_on_through_a_new_price(world: World) -> None:
    """From 1 March units beyond 100 cost 0.25. The 90 before it stay reached: of 30 more 10 fill the tier."""
    world.plan({**YEARLY, "tiers_count": "contract"})
    cheaper = {**YEARLY["price"], "tiers": [YEARLY["price"]["tiers"][0], {"unit_price": "0.25"}]}
    world.plan({**YEARLY, "price": cheaper, "tiers_count": "contract"}, start="2025-03-01")
    world.contract()
    used(world, "c1", _2025_01_20="60", _2025_02_20="30", _2025_03_05="30")
    world.bill("2025-03-15")
    assert lines(world) == [
        "2025-02-15 calls 2025-01-15..2025-02-15 60 call 65.00",
        "2025-03-15 calls 2025-02-15..2025-03-01 30 call 30.00",
        "2025-03-15 calls 2025-03-01..2025-03-15 30 call 15.00",
    ]
    check_lines(world)


@pytest.mark.requirement("RAT-06")
def test_tiers_of_a_period_go_on_through_a_new_price_in_the_middle_of_it(world: World) -> None:
    """From 1 March units beyond 100 cost 0.25, and a period goes from the 15th to the 15th. Of the 30 after
    the change 10 fill the tier that 90 before it reached, and its flat amount is not due again. With tiers
    that count for each part the 30 are 5 + 30. In the next period they begin again. So in every time zone."""
    whole = {**YEARLY, "tiers_count": "whole_period"}
    cheaper = {**YEARLY["price"], "tiers": [YEARLY["price"]["tiers"][0], {"unit_price": "0.25"}]}
    for plan_id, tiers_count in [("gold", "whole_period"), ("parts", "period")]:
        world.plan({**whole, "tiers_count": tiers_count}, plan_id=plan_id)
        later = {**whole, "tiers_count": tiers_count, "price": cheaper}
        world.plan(later, plan_id=plan_id, start="2025-03-01")
    world.contract("parts", plan_id="parts", start_date=date(2025, 2, 15))
    used(world, "parts", _2025_02_20="90", _2025_03_05="30", _2025_03_20="10")
    zones = {"c1": "Europe/Berlin", "east": "Pacific/Kiritimati", "west": "Pacific/Pago_Pago"}
    for contract_id, zone in zones.items():
        world.contract(contract_id, time_zone=zone, start_date=date(2025, 2, 15))
        used(world, contract_id, _2025_02_20="90", _2025_03_05="30", _2025_03_20="10")
    seen = previewed(world, "2025-03-10")
    assert [line.amount_minor for line in seen.lines] == [9500, 1500]
    world.bill("2025-04-15", now=at("2025-05-01"))
    for contract_id in zones:
        assert [row for stored in world.invoices(contract_id=contract_id) for row in readable(stored)] == [
            "2025-03-15 calls 2025-02-15..2025-03-01 90 call 95.00",
            "2025-03-15 calls 2025-03-01..2025-03-15 30 call 15.00",
            "2025-04-15 calls 2025-03-15..2025-04-15 10 call 15.00",
        ]
    came_before = "tiers count over the whole period: 90 call came before -> up to 120 call"
    second, *others = [one for one in check_lines(world) if came_before in one.to_text()]
    assert len(others) == 2
    assert "10 units, 1.00 each and flat 5.00 once = 10.00" in second.to_text()  # it was due before
    assert [(tier.number, tier.units, tier.amount) for tier in second.tiers] == [
        (1, "10", "10"),
        (2, "20", "5"),
    ]
    assert [row[-5:] for stored in world.invoices(contract_id="parts") for row in readable(stored)] == [
        "95.00", "35.00", "15.00",
    ]  # fmt: skip


def test_what_a_contract_agrees_about_another_charge_gives_no_cheap_tiers_twice(world: World) -> None:
    """Two agreements about the fee cut the period from 15 February into four parts. The price of the calls
    stays what it is: they come to what 150 cost at once, 5 + 100 + 25. In two pooled contracts too, 300 in
    all."""
    fees = [
        {
            "charge_id": "fee",
            "effective_from": date(2025, 2, first),
            "effective_until": date(2025, 2, past),
            "price": {"model": "flat", "amount": str(first)},
        }
        for first, past in ((20, 22), (22, 25))
    ]
    for number, (plan_id, pooled_over) in enumerate([("alone", "contract"), ("pooled", "customer")]):
        calls = {**YEARLY, "tiers_count": "whole_period", "pooled_over": pooled_over}
        world.plan(MONTHLY_FEE, calls, plan_id=plan_id)
        for contract_id in [f"{plan_id}-{member}" for member in range(number + 1)]:
            world.contract(contract_id, plan_id=plan_id, start_date=date(2025, 2, 15), overrides=fees)
            used(world, contract_id, _2025_02_16="70", _2025_02_21="20", _2025_02_23="40", _2025_03_02="20")
    world.bill("2025-03-15")
    found = {
        plan_id: [
            line.amount_minor
            for stored in world.invoices()
            for line in stored.invoice.lines
            if line.charge_id == "calls" and stored.summary.contract_id.startswith(plan_id)
        ]
        for plan_id in ("alone", "pooled")
    }
    assert found["alone"] == [500 + 7000, 2000, 1000 + 1500, 1000]
    assert (len(found["pooled"]), sum(found["pooled"])) == (8, 500 + 10_000 + 10_000)
    assert [table.to_pylist() for table in again(world).tables()] == []


@pytest.mark.requirement("RAT-07")
def test_late_usage_of_a_part_of_a_period_carries_on_to_its_other_part(world: World) -> None:
    """The part to 1 March was billed for 60, that from it for 30. 40 more come in for the first: they are 40,
    and the 30 then begin at 100 and cost 0.25 instead of 1."""
    whole = {**YEARLY, "tiers_count": "whole_period"}
    cheaper = {**YEARLY["price"], "tiers": [YEARLY["price"]["tiers"][0], {"unit_price": "0.25"}]}
    world.plan(whole)
    world.plan({**whole, "price": cheaper}, start="2025-03-01")
    world.contract(start_date=date(2025, 2, 15))
    used(world, "c1", _2025_02_20="60", _2025_03_05="30")
    world.bill("2025-03-15")
    used(world, "c1", _2025_02_25="40")
    world.bill("2025-04-15", now=at("2025-05-01"))
    assert lines(world) == [
        "2025-03-15 calls 2025-02-15..2025-03-01 60 call 65.00",
        "2025-03-15 calls 2025-03-01..2025-03-15 30 call 30.00",
        "2025-04-15 calls 2025-02-15..2025-03-01 100 call 40.00",
        "2025-04-15 calls 2025-03-01..2025-03-15 30 call -22.50",
    ]
    assert [row for table in again(world).tables() for row in table.to_pylist()] == []


@pytest.mark.requirement("RAT-07")
def test_late_usage_of_a_billed_month_is_its_own_difference_and_the_year_adds_up(world: World) -> None:
    """January was billed for 60. 50 more of it come in late: February, billed then, begins at 110. What
    January itself comes to now is adjusted on the same invoice: 40 + 10 x 0.5. So the lines sum to the price
    of 130 at once."""
    world.plan(YEARLY)
    world.contract()
    used(world, "c1", _2025_01_20="60")
    world.bill("2025-02-15")
    used(world, "c1", _2025_01_25="50", _2025_02_20="20")
    world.bill("2025-03-15")
    assert lines(world) == [
        "2025-02-15 calls 2025-01-15..2025-02-15 60 call 65.00",
        "2025-03-15 calls 2025-02-15..2025-03-15 20 call 10.00",
        "2025-03-15 calls 2025-01-15..2025-02-15 110 call 45.00",
    ]
    assert [row for table in again(world).tables() for row in table.to_pylist()] == []
    assert 6500 + 1000 + 4500 == 500 + 10_000 + 1500


def test_the_contract_year_begins_with_the_first_period_after_the_anniversary(world: World) -> None:
    """Started on 20 January, billed by the 1st: the period from 1 January 2026 is still of the first year."""
    world.plan(YEARLY)
    world.contract(start_date=date(2025, 1, 20), billing={"anchor_date": date(2025, 2, 1)})
    used(world, "c1", _2025_12_05="100", _2026_01_25="10", _2026_02_05="10")
    world.bill("2026-03-01", now=at("2026-03-02"))
    assert lines(world) == [
        "2026-01-01 calls 2025-12-01..2026-01-01 100 call 105.00",
        "2026-02-01 calls 2026-01-01..2026-02-01 10 call 5.00",
        "2026-03-01 calls 2026-02-01..2026-03-01 10 call 15.00",
    ]


def test_an_earlier_event_that_cannot_be_counted_holds_the_later_period(world: World) -> None:
    world.plan(YEARLY)
    world.contract()
    used(world, "c1", _2025_02_20="20")
    world.bill("2025-02-15")
    world.events(("call", "c1-subject", "2025-01-20", ""))
    report = world.bill("2025-03-15")
    assert [(entry.billing_date, entry.reason_code) for entry in report.held] == [
        (date(2025, 3, 15), "unusable_events")
    ]


POOLED = charge(
    "calls",
    {"model": "graduated", "tiers": [{"up_to": "100", "unit_price": "1"}, {"unit_price": "0.5"}]},
    pooled_over="customer",
)


def test_contracts_of_a_customer_share_the_tiers(world: World) -> None:
    """70 + 50 + 30 are 100 + 25 = 125.00: 58.33, 41.67 (the largest remainder) and 25.00. Apart they were
    70, 50 and 30. A contract of other dates, and one of another customer, stay by themselves."""
    save_customer(world.ledger, {"customer_id": "other", "name": "Other"}, now=LONG_AGO)
    world.plan(POOLED)
    world.contracts(["a", "b", "c"])
    world.contract("later", start_date=date(2025, 1, 20))
    world.contract("other", customer_id="other")
    for contract_id, count in {"a": "70", "b": "50", "c": "30", "later": "60", "other": "60"}.items():
        used(world, contract_id, _2025_01_25=count)
    seen = previewed(world, "2025-02-14", "b")
    world.bill("2025-02-20")
    found = {stored.summary.contract_id: stored.invoice for stored in world.invoices()}
    assert {key: invoice.total_minor for key, invoice in found.items()} == {
        "a": 5833, "b": 4167, "c": 2500, "later": 6000, "other": 6000,
    }  # fmt: skip
    assert seen.lines == found["b"].lines
    explanations = check_lines(world)
    assert (
        "70 of the 150 call of 3 contracts, priced as one -> a part of 58.33 EUR" in explanations[0].to_text()
    )
    assert tried(world, {**POOLED, "pooled_over": "contract"}, end="2025-02-16") == [
        7000,
        5000,
        3000,
        0,
        6000,
    ]


def test_contracts_of_several_customers_share_a_pool_they_name(world: World) -> None:
    """As contracts of one customer: 58.33, 41.67 and 25.00; those of no pool and of another are alone. Usage
    that comes late for one of the pool is adjusted on the others too."""
    for customer_id in ("north", "south"):
        save_customer(world.ledger, {"customer_id": customer_id, "name": customer_id.title()}, now=LONG_AGO)
    world.plan({**POOLED, "pooled_over": "pool"})
    for contract_id, customer_id, pool_id in (
        ("a", "acme", "group"), ("b", "north", "group"), ("c", "south", "group"),
        ("alone", "acme", None), ("other", "acme", "others"),
    ):  # fmt: skip
        world.contract(contract_id, customer_id=customer_id, pool_id=pool_id)
    for contract_id, count in {"a": "70", "b": "50", "c": "30", "alone": "60", "other": "60"}.items():
        used(world, contract_id, _2025_01_25=count)
    seen = previewed(world, "2025-02-14", "b")
    world.bill("2025-02-20")
    found = {stored.summary.contract_id: stored.invoice for stored in world.invoices()}
    assert {key: invoice.total_minor for key, invoice in found.items()} == {
        "a": 5833, "b": 4167, "c": 2500, "alone": 6000, "other": 6000,
    }  # fmt: skip
    assert seen.lines == found["b"].lines
    assert found["a"].lines[0].price_text.endswith("(counted together with its pool)")
    check_lines(world)
    used(world, "c", _2025_01_26="50")  # 200 are 150.00: 52.50, 37.50 and 60.00
    for contract_id, count in {"a": "70", "b": "50", "c": "30"}.items():
        used(world, contract_id, _2025_02_25=count)  # as in the month before
    world.bill("2025-03-15")
    totals = {stored.summary.contract_id: 0 for stored in world.invoices()}
    for stored in world.invoices():
        totals[stored.summary.contract_id] += stored.invoice.total_minor
    assert {key: totals[key] for key in "abc"} == {
        "a": 5250 + 5833, "b": 3750 + 4167, "c": 6000 + 2500,
    }  # fmt: skip


def test_a_pool_goes_on_from_month_to_month(world: World) -> None:
    """Of a year: 60 and 30 in the first month cost 90.00; 30 and 30 in the second go on from 90: 10 at 1.00
    and 50 at 0.50, 35.00, in halves. 20 of the first month come late: its 110 are 105.00, and the second
    month's 60 all lie above 100. So the lines sum to the price of the year's 170, 135.00."""
    world.plan({**POOLED, "tiers_count": "year"})
    world.contracts(["a", "b"])
    used(world, "a", _2025_01_20="60", _2025_02_20="30", _2025_03_20="100")
    used(world, "b", _2025_01_20="30", _2025_02_20="30", _2025_03_20="100")
    world.bill("2025-02-15")
    seen = previewed(world, "2025-03-14", "b")
    world.bill("2025-03-15")
    assert lines(world) == [
        "2025-02-15 calls 2025-01-15..2025-02-15 60 call 60.00",
        "2025-03-15 calls 2025-02-15..2025-03-15 30 call 17.50",
        "2025-02-15 calls 2025-01-15..2025-02-15 30 call 30.00",
        "2025-03-15 calls 2025-02-15..2025-03-15 30 call 17.50",
    ]
    assert seen.lines == world.invoices()[-1].invoice.lines
    (_, march, *_) = check_lines(world)
    assert "tiers count over the year: 90 call came before -> up to 150 call" in march.to_text()
    alone = {**POOLED, "tiers_count": "year", "pooled_over": "contract"}
    assert sum(tried(world, alone, end="2025-04-01")) == 9000 + 6000
    used(world, "b", _2025_01_25="20")
    world.bill("2025-04-15")
    billed = [line for stored in world.invoices() for line in stored.invoice.lines]
    before_april = [line for line in billed if line.period_start < date(2025, 3, 15)]
    assert sum(line.amount_minor for line in before_april) == 13_500
    assert sum(line.amount_minor for line in billed) == 13_500 + 10_000
    check_lines(world)


def test_an_event_before_that_cannot_be_counted_holds_the_pool(world: World) -> None:
    world.plan({**POOLED, "tiers_count": "year"})
    world.contracts(["a", "b"])
    used(world, "a", _2025_01_20="60", _2025_02_20="30")
    used(world, "b", _2025_02_20="30")
    world.bill("2025-02-15")
    world.events(("call", "a-subject", "2025-01-20", ""))
    report = world.bill("2025-03-15")
    assert {(entry.contract_id, entry.reason_code) for entry in report.held} == {
        ("a", "unusable_events"),
        ("b", "unusable_events"),
    }


def test_a_plan_pools_one_way(world: World) -> None:
    with pytest.raises(InvalidDocument, match="pooled_two_ways"):
        world.plan(POOLED, {**POOLED, "charge_id": "more", "pooled_over": "pool"})


def test_a_pool_counts_a_contract_that_is_held_and_its_part_is_billed_later(world: World) -> None:
    """a is held for something else; b is billed its part of 150.00, and later a is billed the rest."""
    other = charge("gb", {"model": "flat", "amount": "1"}, meter_id="transfer")
    world.plan(POOLED, other)
    world.contracts(["a", "b"])
    used(world, "a", _2025_01_25="80")
    used(world, "b", _2025_01_25="120")
    world.events(("transfer", "a-subject", "2025-01-26", "-5"))
    assert [entry.contract_id for entry in world.bill("2025-02-15").held] == ["a"]
    assert [stored.invoice.total_minor for stored in world.invoices()] == [9000]
    world.events(("transfer", "a-subject", "2025-01-27", "6"))
    assert world.bill("2025-02-15").held == ()
    assert [stored.invoice.total_minor for stored in world.invoices()] == [6000 + 100, 9000]
    check_lines(world)


def test_an_event_that_cannot_be_counted_holds_all_contracts_of_the_pool(world: World) -> None:
    world.plan(POOLED)
    world.contracts(["a", "b"])
    used(world, "a", _2025_01_25="50")
    world.events(("call", "b-subject", "2025-01-26", ""))
    report = world.bill("2025-02-15")
    assert {entry.contract_id: entry.reason_code for entry in report.held} == {
        "a": "unusable_events",
        "b": "unusable_events",
    }
