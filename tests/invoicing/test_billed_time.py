"""Goal: once time is billed, no change of a contract bills it twice or skips it: refused, and held."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ingest.errors import InvalidDocument
from invoicing import billing_run
from invoicing.billed_time import contract_change_issues
from rating.catalogue import save_contract, save_contracts
from rating.store import start_writing
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at, readable

FEE = MONTHLY_FEE | {"price": {"model": "flat", "amount": "31"}}
FEE_IN_ARREARS = FEE | {"timing": "arrears"}
CALLS_DAILY = CALLS | {"zero_usage": "charge", "minimum_amount": "40"}
SET_UP = FEE | {"charge_id": "set-up", "kind": "one_time"}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": date(2025, 1, 1),
        "time_zone": "UTC",
        **changes,
    }


def save(world: World, **changes: Any) -> bool:
    """As the API saves: with what is billed held against the change."""
    saved = save_contract(
        world.ledger, document(**changes), now=LONG_AGO, further_rules=contract_change_issues
    )
    return saved.created


def refused(world: World, **changes: Any) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        save(world, **changes)
    return [f"{issue.pointer}: {issue.expected}" for issue in caught.value.issues]


BEHIND: dict[str, tuple[dict[str, Any], str]] = {
    "the anchor moved": ({"billing": {"anchor_date": "2025-01-15"}}, "billing.anchor_date"),
    "the cadence changed": ({"billing": {"cadence": "quarterly"}}, "billing.cadence"),
    "the start moved earlier": ({"start_date": date(2024, 12, 1)}, "start_date"),
    "the start moved later": ({"start_date": date(2025, 2, 15)}, "start_date"),
    "another pool": ({"pool_id": "group"}, "pool_id"),
    "west, 5 hours never billed": ({"time_zone": "America/New_York"}, "time_zone"),
    "east, an hour billed twice": ({"time_zone": "Europe/Berlin"}, "time_zone"),
    "another plan": ({"plan_id": "silver"}, "plan_id"),
    "a subject taken away": ({"subjects": ["another"]}, "subjects"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_change_behind_the_last_bill_is_refused_and_held(world: World, name: str) -> None:
    """Billed on 1 February: usage up to it, the fee in advance up to 1 March."""
    changes, pointer = BEHIND[name]
    world.plan(FEE, CALLS, SET_UP)
    world.plan(FEE_IN_ARREARS, plan_id="silver")
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-02-01")
    issues = refused(world, **changes)
    assert [issue.partition(":")[0] for issue in issues] == [pointer]
    assert issues[0].endswith("or end this contract on 2025-03-01 and make a new one from 2025-03-01.")

    save_contract(world.ledger, document(**changes), now=LONG_AGO)  # it came in all the same
    report = world.bill("2025-04-20")
    assert report.invoiced == 0
    assert report.held[0].reason_code == "billing_dates_changed"
    assert {held.reason_code for held in report.held[1:]} <= {"earlier_date_held"}
    assert "it is billed up to 2025-03-01" in report.held[0].message

    save_contract(world.ledger, document(), now=LONG_AGO)  # restored
    assert [held.reason_code for held in world.bill("2025-04-20").held] == []


def test_the_way_out_bills_every_day_once(world: World) -> None:
    """The call of January comes after its bill: the last bill of the contract adjusts it."""
    world.plan(FEE, CALLS)
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-02-01")
    assert save(world, end_date=date(2025, 3, 1))
    assert save(
        world, contract_id="c2", start_date=date(2025, 3, 1), billing={"anchor_date": date(2025, 1, 15)}
    )
    world.events(*[("call", "c1-subject", f"2025-0{month}-27", "100") for month in (1, 2, 3)])
    world.bill("2025-03-15")
    assert [line for stored in world.invoices() for line in readable(stored)] == [
        "2025-01-01 fee 2025-01-01..2025-02-01 1 unit 31.00",
        "2025-02-01 fee 2025-02-01..2025-03-01 1 unit 31.00",
        "2025-03-01 calls 2025-02-01..2025-03-01 100 call 1.00",
        "2025-03-01 calls 2025-01-01..2025-02-01 100 call 1.00",
        "2025-03-01 fee 2025-03-01..2025-03-15 1 unit 15.50",
        "2025-03-15 fee 2025-03-15..2025-04-15 1 unit 31.00",
    ]


@pytest.mark.parametrize(
    ("end", "new_end", "billed", "charges", "expected"),
    [
        # advance fee, no end, billed on 1 February up to 1 March
        (None, "2025-02-01", "2025-02-01", [FEE], "end_date: 2025-02-02 or a later day."),
        (None, "2025-02-15", "2025-02-01", [FEE, CALLS_DAILY], None),  # 14 days of the fee are given back
        (None, "2025-03-01", "2025-02-01", [FEE], None),
        (None, "2025-03-17", "2025-02-01", [FEE], None),
        # usage only: billed on 1 February up to it
        (None, "2025-01-20", "2025-02-01", [CALLS], "end_date: 2025-02-01 or a later day."),
        (None, "2025-02-01", "2025-02-01", [CALLS], None),
        # the advance period was cut by the end: its rest comes with the next bill
        ("2025-02-16", None, "2025-02-01", [FEE], None),
        ("2025-02-16", "2025-02-20", "2025-02-01", [FEE], None),
        ("2025-02-16", None, "2025-02-01", [CALLS], None),
        ("2025-03-01", None, "2025-02-01", [FEE], None),
        ("2025-06-16", None, "2025-02-01", [FEE], None),
        # billed to its end
        ("2025-03-01", None, "2025-03-01", [FEE, CALLS], "end_date: 2025-03-01; go on with a new contract"),
        ("2025-03-01", "2025-02-20", "2025-03-01", [CALLS], "end_date: 2025-03-01; go on with a new"),
    ],
)
def test_the_end_may_move_where_nothing_is_billed(
    world: World,
    end: str | None,
    new_end: str | None,
    billed: str,
    charges: list[dict[str, Any]],
    expected: str | None,
) -> None:
    world.plan(*charges)
    world.contract(start_date=date(2025, 1, 1), end_date=end)
    world.bill(billed)
    if expected is None:
        assert save(world, end_date=new_end)
        assert world.bill("2025-07-01").held == ()
        return
    (issue,) = refused(world, end_date=new_end)
    assert issue.startswith(expected)


def test_what_no_bill_depends_on_stays_free(world: World) -> None:
    world.plan()
    world.contract(start_date=date(2025, 1, 1))
    assert save(world, start_date=date(2025, 1, 2), time_zone="Europe/Berlin")  # nothing is billed yet
    world.contract(start_date=date(2025, 1, 1))
    world.bill("2025-02-01")
    free: dict[str, Any] = {
        "terms": {"payment_days": 14},
        "note": "talked to them",
        "subjects": ["c1-subject", "one-more"],
        "billing": {"anchor_date": date(2025, 1, 1)},
    }
    assert save(world, **free)
    assert not save(world, **free)
    assert world.bill("2025-03-01").held == ()


def test_one_bad_change_of_a_list_is_named_and_nothing_saved(world: World) -> None:
    world.plan()
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 1))
    world.bill("2025-01-01")
    changed = [
        document(note="fine"),
        document(contract_id="c2", subjects=["c2-subject"], time_zone="Asia/Tokyo"),
    ]
    with pytest.raises(InvalidDocument) as caught:
        save_contracts(world.ledger, changed, now=LONG_AGO, further_rules=contract_change_issues)
    assert [issue.pointer for issue in caught.value.issues] == ["c2.time_zone"]
    assert world.bill("2025-02-01").held == ()


def test_a_subject_moved_while_the_run_worked_is_billed_on_neither(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plan(CALLS)
    world.contract("a", subjects=["moved"], start_date=date(2025, 2, 15))
    world.contract("b", subjects=["other"], start_date=date(2025, 3, 1))
    world.events(("call", "moved", "2025-03-05", "100"))

    def move(*arguments: Any) -> Any:
        world.contract("a", subjects=["rest"], start_date=date(2025, 2, 15))
        world.contract("b", subjects=["other", "moved"], start_date=date(2025, 3, 1))
        return start_writing(*arguments)

    monkeypatch.setattr(billing_run, "start_writing", move)
    assert world.bill("2025-03-15").invoiced == 1
    monkeypatch.undo()
    report = world.bill("2025-04-01")
    assert [(held.contract_id, held.reason_code) for held in report.held] == [("b", "billing_dates_changed")]
    assert "'moved' is held here and was taken from contract 'a'" in report.held[0].message
    assert len(world.invoices()) == 1


def test_terms_saved_while_the_run_works_are_on_the_next_invoice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plan(FEE)
    world.contract(start_date=date(2025, 1, 1), terms={"payment_days": 14})

    def change(*arguments: Any) -> Any:
        world.contract(start_date=date(2025, 1, 1), terms={"payment_days": 60})
        return start_writing(*arguments)

    monkeypatch.setattr(billing_run, "start_writing", change)
    world.bill("2025-01-01")
    monkeypatch.undo()
    world.bill("2025-02-01", now=at("2025-02-01"))
    shown = [
        (stored.invoice.contract["version"], stored.invoice.terms["payment_days"])
        for stored in world.invoices()
    ]
    assert shown == [(1, 14), (2, 60)]
