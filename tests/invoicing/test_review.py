"""Goal: what needs a look waits for the right people and holds up nothing else; numbers are drawn when it is
issued."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from ingest.clock import FixedClock
from ingest.errors import Conflict, Forbidden, InvalidDocument, InvalidInput, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.issue import issue_invoice
from invoicing.review.moves import approve, delegate, escalate, escalate_overdue, send_back, submit
from invoicing.review.release import release_approved
from invoicing.review.review import Acting
from invoicing.review.review_store import ageing, find_review, get_review, list_reviews
from invoicing.review.rules import save_review_rules
from invoicing.settings import BillingSettings
from invoicing.store import StoredInvoice
from invoicing.tick import tick
from tests.invoicing.items_case import CONSULTING, expense, hours, take
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_item_invoices import plan as plan_items
from tests.invoicing.world import LONG_AGO, World, at, unseen

NOW = at("2025-04-16T09:00")


def person(name: str) -> Acting:
    return Acting(name, name)


def rules(world: World, **more: Any) -> None:
    document = {"rules_id": "default", "reviewers": ["anna", "ben"], **more}
    save_review_rules(world.ledger, document, now=LONG_AGO)


def waiting(world: World) -> list[str]:
    return [
        f"{one.contract_id} {one.billing_date} {one.review.reviewer}"
        for one in list_reviews(world.ledger, limit=9)
    ]


def draft_of(world: World, contract_id: str) -> StoredInvoice:
    (stored,) = world.invoices(contract_id=contract_id, state="draft")
    return stored


def one_in_review(world: World, **more: Any) -> str:
    """Contract c1's first invoice, 30 EUR in advance, waiting for anna and then ben."""
    world.plan(MONTHLY_FEE)
    world.contract()
    rules(world, **{"policy": "all", **more})
    assert world.bill("2025-01-15").in_review == 1
    return draft_of(world, "c1").summary.invoice_id


def trail(world: World, invoice_id: str) -> list[str]:
    """``actor action state`` of an invoice, oldest first."""
    entries = list_entries(world.ledger, chosen=AuditFilter(object_id=invoice_id), limit=100)
    return [f"{one.actor} {one.action} {one.to_dict()['after']['state']}" for one in reversed(entries)]


def issue(world: World, invoice_id: str, *, now: datetime = NOW) -> StoredInvoice:
    return issue_invoice(world.ledger, invoice_id=invoice_id, now=now, series_prefix="INV", actor="sender")


@pytest.mark.requirement("APP-08")
def test_flagged_drafts_wait_and_the_others_are_issued_in_the_same_run(any_world: World) -> None:
    world = any_world
    world.plan()
    world.contracts(["c1", "c2", "c3"])
    rules(world, thresholds={"EUR": "100"}, anomalies=[])
    world.events(("call", "c2-subject", "2025-02-01", "20000"), ("call", "c1-subject", "2025-02-01", "7"))
    report = world.bill("2025-02-15")
    assert (report.invoiced, report.in_review, report.issued) == (6, 1, 5)
    assert report.to_dict()["human_touches"]["in_review"] == 1
    assert "1 of them wait for a review" in report.summary()
    assert waiting(world) == ["c2 2025-02-15 anna"]
    flagged = get_review(world.ledger, draft_of(world, "c2").summary.invoice_id)
    assert [flag["reason_code"] for flag in flagged.review.flags] == ["above_threshold"]
    numbers = [stored.summary.number for stored in world.invoices(state="issued")]
    assert sorted(filter(None, numbers)) == [f"INV-2025-{number:06}" for number in range(1, 6)]
    again = world.bill("2025-02-15")
    assert (again.due, again.in_review) == (0, 0)
    later = world.bill("2025-03-15")  # the draft of the month before holds up nothing
    assert (later.invoiced, later.issued) == (3, 3)
    assert verify_books(world.ledger).to_dict()["proved"]


@pytest.mark.requirement("APP-05")
def test_quantities_are_compared_with_the_bills_before(world: World) -> None:
    world.plan()
    world.contract()
    rules(world)
    calls = {"01-20": "100", "02-20": "120", "03-20": "90", "04-20": "400", "05-20": "130"}
    world.events(*(("call", "c1-subject", f"2025-{day}", calls[day]) for day in calls))
    flags: dict[str, list[str]] = {}
    for month in ("01", "02", "03", "04", "05", "06", "07"):
        world.bill(f"2025-{month}-15")
        for one in list_reviews(world.ledger, limit=9):
            flags.setdefault(str(one.billing_date), [flag["reason_code"] for flag in one.review.flags])
    assert flags == {
        "2025-05-15": ["unusual_quantity"],
        "2025-07-15": ["zero_after_use"],
    }
    found = {str(one.billing_date): one.review.flags[0] for one in list_reviews(world.ledger, limit=9)}
    assert found["2025-05-15"]["message"] == (
        "calls has 400, more than 3 times 100, the median of the last 3 bills."
    )


@pytest.mark.requirement("APP-05")
@pytest.mark.parametrize(
    ("price", "reasons"),
    [
        ({"model": "per_unit", "unit_price": "0"}, ["missing_price"]),
        ({"model": "graduated", "tiers": [{"up_to": "500", "unit_price": "0"}, {"unit_price": "0.1"}]}, []),
    ],
)
def test_a_price_of_nothing_is_flagged_and_free_units_are_not(
    world: World, price: dict[str, Any], reasons: list[str]
) -> None:
    charge = {"charge_id": "calls", "name": "Calls", "kind": "usage", "meter_id": "calls", "price": price}
    world.plan(charge)
    world.contract()
    rules(world, anomalies=["missing_price"])
    world.events(("call", "c1-subject", "2025-02-01", "20"))
    world.bill("2025-02-15")
    found = list_reviews(world.ledger, limit=9)
    assert [flag["reason_code"] for one in found for flag in one.review.flags] == reasons


@pytest.mark.requirement("APP-01")
def test_under_the_policy_all_nothing_leaves_before_it_is_approved(any_world: World) -> None:
    world = any_world
    invoice_id = one_in_review(world)
    with pytest.raises(Conflict) as refused:
        issue(world, invoice_id)
    assert refused.value.reason_code == "not_approved"
    approve(world.ledger, invoice_id, person("anna"), reason="", now=NOW)
    with pytest.raises(Conflict):
        issue(world, invoice_id)
    approve(world.ledger, invoice_id, person("ben"), reason="looks right", now=NOW)
    assert waiting(world) == ["c1 2025-01-15 "]
    assert issue(world, invoice_id).summary.number == "INV-2025-000001"
    assert waiting(world) == []
    assert world.bill("2025-02-15", issue=False).in_review == 1  # drafts made to be looked at wait as well


@pytest.mark.requirement("APP-03")
def test_every_step_is_an_event_and_the_next_reviewer_has_it_in_his_list(any_world: World) -> None:
    world = any_world
    invoice_id = one_in_review(world)
    ledger = world.ledger

    def mine(name: str) -> list[str]:
        return [one.review.invoice_id for one in list_reviews(ledger, limit=9, reviewer=name)]

    assert (mine("anna"), mine("ben")) == ([invoice_id], [])
    approve(ledger, invoice_id, person("anna"), reason="", now=NOW)
    assert (mine("anna"), mine("ben")) == ([], [invoice_id])
    with pytest.raises(InvalidInput):
        send_back(ledger, invoice_id, person("ben"), reason=" ", now=NOW)
    send_back(ledger, invoice_id, person("ben"), reason="the fee is old", now=NOW)
    assert mine("anna") == [invoice_id]
    send_back(ledger, invoice_id, person("anna"), reason="so it is", now=NOW)
    assert get_review(ledger, invoice_id).review.state == "returned"
    with pytest.raises(Conflict):
        approve(ledger, invoice_id, person("anna"), reason="", now=NOW)
    submit(ledger, invoice_id, person("clerk"), reason="the fee is as agreed", now=NOW)
    for name in ("anna", "ben"):
        approve(ledger, invoice_id, person(name), reason="", now=NOW)
    issue(world, invoice_id)
    assert trail(world, invoice_id) == [
        "system submitted in_review",
        "anna approved in_review",
        "ben sent_back in_review",
        "anna sent_back returned",
        "clerk submitted in_review",
        "anna approved in_review",
        "ben approved approved",
        "sender issued issued",
    ]
    assert verify_books(ledger).to_dict()["proved"]
    with pytest.raises(Conflict):
        approve(ledger, invoice_id, person("ben"), reason="", now=NOW)


@pytest.mark.requirement("APP-09")
def test_only_whose_turn_it_is_decides_and_nobody_approves_his_own(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract()
    rules(world, policy="all", reviewers=["anna"])
    world.bill("2025-01-15", actor="anna")
    invoice_id, ledger = draft_of(world, "c1").summary.invoice_id, world.ledger
    with pytest.raises(Forbidden) as refused:
        approve(ledger, invoice_id, person("ben"), reason="", now=NOW)
    assert refused.value.reason_code == "not_your_turn"
    with pytest.raises(Forbidden) as refused:
        approve(ledger, invoice_id, person("anna"), reason="", now=NOW)
    assert refused.value.reason_code == "own_invoice"
    delegate(ledger, invoice_id, person("anna"), to="ben", reason="mine", now=NOW)
    approve(ledger, invoice_id, person("ben"), reason="", now=NOW)
    assert get_review(ledger, invoice_id).review.state == "approved"
    with pytest.raises(NotFound):
        approve(ledger, "no-such", person("ben"), reason="", now=NOW)


@pytest.mark.requirement("APP-08")
def test_what_is_left_lying_is_handed_on_once_and_its_age_is_told(any_world: World) -> None:
    world = any_world
    invoice_id = one_in_review(world, escalate_after_hours=48, escalate_to="lead")
    opened = get_review(world.ledger, invoice_id).review.opened_at

    def later(hours: float) -> datetime:
        return opened + timedelta(hours=hours)

    assert escalate_overdue(world.ledger, now=later(47.9)) == []
    assert escalate_overdue(world.ledger, now=later(48)) == [invoice_id]
    assert escalate_overdue(world.ledger, now=later(500)) == []
    review = get_review(world.ledger, invoice_id).review
    assert (review.reviewer, review.reviewers, review.escalated) == ("lead", ("lead", "ben"), True)
    assert trail(world, invoice_id)[-1] == "system escalated in_review"
    assert ageing(world.ledger, now=later(48 + 73)) == [
        {"reviewer": "lead", "waiting": 1, "up_to_24_hours": 0, "up_to_72_hours": 0, "over_72_hours": 1}
    ]
    with pytest.raises(Forbidden):
        approve(world.ledger, invoice_id, person("anna"), reason="", now=later(50))


def test_the_scheduler_issues_what_is_approved_where_the_rules_want_it(world: World) -> None:
    invoice_id = one_in_review(world, issue_approved=True, reviewers=["anna"])
    approve(world.ledger, invoice_id, person("anna"), reason="", now=NOW)
    clock = FixedClock(at("2025-01-16"))
    settings = BillingSettings()
    tick(clock=clock, event_store=world.event_store, ledger=world.ledger, settings=settings, progress=unseen)
    (stored,) = world.invoices(state="issued")
    assert (stored.summary.invoice_id, stored.summary.number) == (invoice_id, "INV-2025-000001")


def test_releasing_issues_all_that_is_approved_and_says_what_it_could_not(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contracts(["c1", "c2"])
    rules(world, policy="all", reviewers=["anna"])
    world.bill("2025-01-15")
    for stored in world.invoices(state="draft"):
        approve(world.ledger, stored.summary.invoice_id, person("anna"), reason="", now=NOW)
    rules(world, policy="none")
    world.contract("c3", start_date=at("2025-05-01").date())
    world.bill("2025-05-01", now=at("2025-05-02"))
    how = {"by_itself": False, "series_prefix": "INV", "credit_note_prefix": "CN", "actor": "sender"}
    early = release_approved(world.ledger, now=NOW, **how)  # type: ignore[arg-type]
    assert (early.issued, len(early.refused)) == ((), 2)
    done = release_approved(world.ledger, now=at("2025-05-02"), **how)  # type: ignore[arg-type]
    assert (len(done.issued), done.refused) == (2, ())


@pytest.mark.requirement("APP-08")
def test_a_reviewer_hands_up_what_he_will_not_decide(world: World) -> None:
    invoice_id, ledger = one_in_review(world, escalate_after_hours=48, escalate_to="lead"), world.ledger
    with pytest.raises(InvalidInput):
        escalate(ledger, invoice_id, person("anna"), reason=" ", now=NOW)
    with pytest.raises(Forbidden):
        escalate(ledger, invoice_id, person("ben"), reason="not mine", now=NOW)
    review = escalate(ledger, invoice_id, person("anna"), reason="a new kind of fee", now=NOW)
    assert (review.reviewer, review.reviewers, review.escalated) == ("lead", ("lead", "ben"), True)
    assert trail(world, invoice_id)[-1] == "anna escalated in_review"
    for name in ("lead", "ben"):
        with pytest.raises((Conflict, Forbidden)):
            escalate(ledger, invoice_id, person(name), reason="nor do I", now=NOW)
    rules(world, policy="all")
    assert world.bill("2025-02-15").in_review == 1
    (later,) = (one for one in list_reviews(ledger, limit=9) if one.review.invoice_id != invoice_id)
    with pytest.raises(Conflict) as refused:
        escalate(ledger, later.review.invoice_id, person("anna"), reason="to whom", now=NOW)
    assert refused.value.reason_code == "nobody_to_escalate_to"


@pytest.mark.requirement("APP-02")
def test_changed_rules_touch_new_drafts_only(world: World) -> None:
    invoice_id = one_in_review(world)
    rules(world, policy="all", reviewers=["carl"])
    world.bill("2025-02-15")
    assert waiting(world) == ["c1 2025-01-15 anna", "c1 2025-02-15 carl"]
    rules(world, policy="none")
    world.bill("2025-03-15")
    assert len(waiting(world)) == 2
    assert find_review(world.ledger, world.invoices(state="issued")[0].summary.invoice_id) is None
    with pytest.raises(Conflict):
        issue(world, invoice_id)


def test_rules_belong_to_all_or_to_an_entity_on_record(world: World) -> None:
    with pytest.raises(InvalidDocument) as refused:
        rules(world, rules_id="nobody")
    assert refused.value.issues[0].reason_code == "unknown_entity"


def test_invoices_for_items_are_reviewed_too(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    rules(world, thresholds={"EUR": "100"})
    take(world, hours("1", "2"), expense("1", "49.90"))
    plan_items(world, invoice_on="2025-02-03")
    report = world.bill("2025-02-10")
    assert (report.item_invoices, report.item_invoices_in_review) == (1, 1)
    assert report.to_dict()["human_touches"]["in_review"] == 1
    (stored,) = world.invoices(state="draft")
    assert waiting(world) == ["c1 2025-02-03 anna"]
    for name in ("anna", "ben"):
        approve(world.ledger, stored.summary.invoice_id, person(name), reason="", now=NOW)
    assert issue(world, stored.summary.invoice_id).summary.total_minor == 21_790


def test_a_run_that_dies_while_reviews_are_entered_leaves_nothing_and_is_repeated(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = any_world
    world.plan(MONTHLY_FEE)
    world.contracts(["c1", "c2"])
    rules(world, routes=[], thresholds={"EUR": "29"})

    def killed(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("invoicing.issue.enter_reviews", killed)
        with pytest.raises(KeyboardInterrupt):
            world.bill("2025-01-15")
    assert world.invoices() == []
    assert world.bill("2025-01-15").in_review == 2
    for stored in world.invoices():
        for name in ("anna", "ben"):
            approve(world.ledger, stored.summary.invoice_id, person(name), reason="", now=NOW)
        issue(world, stored.summary.invoice_id, now=at("2025-01-16"))
    # What was issued last month is the same this month, so above the threshold or not nobody looks at it.
    assert world.bill("2025-02-15").in_review == 0
