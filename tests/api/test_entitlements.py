"""Goal: a provisioning system hears at once whether a customer may have more, right to the last event it was
told is on record, and everything asked and answered can be read afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.check_log import FOLDER, CheckLog, list_checks
from api.state import Ratemill
from ingest.clickhouse import EventStore
from ingest.clock import FixedClock
from tests.api.conftest import NOW, Run
from tests.api.test_flow import CONTRACT, PLAN, event, put_world, send

SEATS = {
    "meter_id": "seats",
    "event_type": "provisioning",
    "aggregation": "time_weighted",
    "reading": "unit_days",
    "unit": "seat day",
}
LIMITS: list[dict[str, Any]] = [
    {"meter_id": "calls", "period": "billing_period", "mode": "hard", "limit": "100"},
    {"meter_id": "calls", "period": "day", "mode": "soft", "limit": "60"},
]


def limit(http: httpx.Client, *entitlements: dict[str, Any], **changes: Any) -> None:
    assert http.put("/v1/meters/seats", json=SEATS).status_code in (200, 201)
    answer = http.put(
        "/v1/contracts/acme-1", json={**CONTRACT, **changes, "entitlements": list(entitlements)}
    )
    assert answer.status_code in (200, 201), answer.text


def ask(http: httpx.Client, quantity: str, meter: str = "calls", **whom: str) -> dict[str, Any]:
    params = {"meter_id": meter, "quantity": quantity, **(whom or {"subject": "acme-eu"})}
    answer = http.get("/v1/entitlements", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def verdict(answer: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(answer[name] for name in ("allowed", "reason", "used", "limit", "remaining"))


def change(number: int, operation: str, value: str, time: datetime) -> dict[str, Any]:
    named = event(number, value=value) | {"type": "provisioning", "time": time.isoformat()}
    return {**named, "properties": {"operation": operation}}


@pytest.mark.requirement("HLD-04")
def test_more_than_the_limit_is_refused_from_usage_that_is_not_billed_yet(http: httpx.Client) -> None:
    """An order beyond the limit is blocked where the limit is hard and marked for approval where it is soft;
    the usage it is held against is live: all subjects, corrections, late events."""
    put_world(http)
    limit(http, LIMITS[0])
    assert verdict(ask(http, "100")) == (True, "within_limit", "0", "100", "100")
    sent = send(http, [event(1, value="60"), event(2, value="35.5", subject="acme-us")])
    assert sent["accepted"] == 2
    first = ask(http, "4.5")
    assert verdict(first) == (True, "within_limit", "95.5", "100", "4.5")
    assert first["period"] == {
        "name": "billing_period",
        "start": "2026-10-31T23:00:00Z",
        "end": "2026-11-30T23:00:00Z",
    }
    assert (first["mode"], first["decided_by"], first["as_of_sequence"]) == ("hard", "acme-1", 2)
    assert verdict(ask(http, "4.6")) == (False, "over_limit", "95.5", "100", "4.5")
    assert verdict(ask(http, "4.6", contract_id="acme-1"))[:2] == (False, "over_limit")
    assert verdict(ask(http, "4.6", customer_id="acme"))[:2] == (False, "over_limit")
    fix = {"source": "switch", "id": "f1", "kind": "amend", "corrects": "1", "value": "50", "reason": "typo"}
    assert http.post("/v1/corrections", json=fix).json()["accepted"] == 1
    assert verdict(ask(http, "4.6")) == (True, "within_limit", "85.5", "100", "14.5")
    limit(http, {**LIMITS[0], "mode": "soft"})
    assert verdict(ask(http, "15")) == (True, "over_soft_limit", "85.5", "100", "14.5")


def test_each_limit_of_a_meter_counts_and_periods_begin_anew(http: httpx.Client, clock: FixedClock) -> None:
    put_world(http)
    limit(http, *LIMITS)
    today = {"time": NOW.isoformat()}
    send(http, [event(1, value="30"), event(2, value="55") | today])
    assert verdict(ask(http, "5")) == (True, "within_limit", "55", "60", "5")
    assert verdict(ask(http, "6")) == (True, "over_soft_limit", "55", "60", "5")
    assert verdict(ask(http, "16")) == (False, "over_limit", "85", "100", "15")
    clock.advance(timedelta(days=1))
    assert verdict(ask(http, "15")) == (True, "within_limit", "85", "100", "15")
    clock.move_to(datetime(2026, 12, 1, tzinfo=UTC))
    assert verdict(ask(http, "60")) == (True, "within_limit", "0", "60", "60")


def test_what_a_phase_or_a_formula_prices_is_in_the_contract(http: httpx.Client, clock: FixedClock) -> None:
    """Calls are priced by the plan of the first phase, texts by a formula of the plan of the second."""
    put_world(http)
    texts = {"meter_id": "texts", "event_type": "text", "aggregation": "sum", "unit": "text"}
    assert http.put("/v1/meters/texts", json=texts).status_code == 201
    charge = {"charge_id": "texts", "name": "Texts", "kind": "usage", "formula": "texts * 2", "unit": "part"}
    price = {"model": "per_unit", "unit_price": "1"}
    plan = {**PLAN, "plan_id": "plus", "charges": [{**charge, "price": price}]}
    assert http.put("/v1/price-plans/plus", json=plan).status_code == 201
    limit(http, phases=[{"plan_id": "plus", "effective_from": "2026-11-25"}])
    send(http, [event(1, value="3"), event(2, value="4") | {"type": "text", "properties": {}}])

    def known() -> tuple[str, str, set[str]]:
        usage = http.get("/v1/contracts/acme-1/usage").json()["items"]
        return (
            ask(http, "1")["reason"],
            ask(http, "1", meter="texts")["reason"],
            {item["meter_id"] for item in usage},
        )

    assert known() == ("not_limited", "not_in_contract", {"calls"})
    clock.move_to(datetime(2026, 11, 25, tzinfo=UTC))
    assert known() == ("not_in_contract", "not_limited", {"calls", "texts"})


def test_limits_change_at_any_time_also_of_a_period_that_was_billed(
    http: httpx.Client, clock: FixedClock
) -> None:
    put_world(http)
    limit(http, LIMITS[0])
    send(http, [event(1, value="30"), event(2, value="5") | {"time": "2026-12-01T00:00:00Z"}])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] == 1
    assert verdict(ask(http, "96")) == (False, "over_limit", "5", "100", "95")
    limit(http, {**LIMITS[0], "limit": "101"})
    assert verdict(ask(http, "96")) == (True, "within_limit", "5", "101", "96")
    refused = http.put(
        "/v1/contracts/acme-1", json={**CONTRACT, "entitlements": [{**LIMITS[0], "meter_id": "x"}]}
    )
    assert [one["reason_code"] for one in refused.json()["issues"]] == ["unknown_meter"]


def test_who_has_no_limit_and_who_has_nothing(http: httpx.Client, clock: FixedClock) -> None:
    put_world(http)
    assert verdict(ask(http, "1000")) == (True, "not_limited", None, None, None)
    assert verdict(ask(http, "1", meter="seats"))[:2] == (False, "not_in_contract")
    assert verdict(ask(http, "1", subject="stranger"))[:2] == (False, "no_contract")
    limit(http, LIMITS[0], end_date="2026-12-01")
    clock.move_to(datetime(2026, 12, 5, tzinfo=UTC))
    assert verdict(ask(http, "1"))[:2] == (False, "contract_not_running")
    for params in ({}, {"subject": "a", "customer_id": "b"}):
        answer = http.get("/v1/entitlements", params={"meter_id": "calls", "quantity": "1", **params})
        assert answer.json()["reason_code"] == "entitlement_of_whom"
    params = {"meter_id": "calls", "quantity": "-1", "subject": "acme-eu"}
    assert http.get("/v1/entitlements", params=params).json()["reason_code"] == "negative_quantity"


def test_counting_ahead_gives_the_same_answers(http: httpx.Client, state: Ratemill) -> None:
    put_world(http)
    limit(http, *LIMITS)
    assert state.entitlements.keep_ready() == 2
    send(http, [event(1, value="99")])
    assert verdict(ask(http, "1")) == (True, "within_limit", "99", "100", "1")
    assert state.entitlements.keep_ready() == 0, "no contract was saved since"
    assert verdict(ask(http, "2"))[0] is False


@pytest.mark.requirement("MET-07")
def test_what_was_provisioned_opens_and_closes_what_may_be_used_and_what_is_billed(
    http: httpx.Client, clock: FixedClock
) -> None:
    """Provisioned on the 10th, deprovisioned on the 20th, local time, both told later than they happened: ten
    days are billed, and in between, and only then, there is something to use."""
    put_world(http)
    licence = {
        "charge_id": "seats",
        "name": "Seats",
        "kind": "licence",
        "meter_id": "seats",
        "unit": "seat day",
    }
    price = {"model": "per_unit", "unit_price": "2"}
    assert http.put("/v1/meters/seats", json=SEATS).status_code == 201
    plan = {**PLAN, "charges": [{**licence, "timing": "arrears", "price": price}]}
    assert http.put("/v1/price-plans/basic", json=plan).status_code == 201
    per_seat = {"meter_id": "calls", "period": "billing_period", "mode": "hard", "per_provisioned": "5"}
    limit(http, {**per_seat, "provisioned_meter_id": "seats"})
    assert verdict(ask(http, "1")) == (False, "over_limit", "0", "0", "0")
    opened, closed = (datetime(2026, 11, day, 23, tzinfo=UTC) for day in (9, 19))
    send(http, [change(1, "add", "3", opened)])
    assert verdict(ask(http, "15")) == (True, "within_limit", "0", "15", "15")
    assert verdict(ask(http, "16"))[0] is False
    send(http, [change(2, "remove", "3", closed)])
    assert verdict(ask(http, "1")) == (False, "over_limit", "0", "0", "0")
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] == 1
    (listed,) = http.get("/v1/invoices").json()["items"]
    (line,) = http.get(f"/v1/invoices/{listed['invoice_id']}").json()["lines"]
    assert (line["quantity"], line["amount_minor"]) == ("30", 6000)


@pytest.mark.requirement("AUD-09")
def test_every_question_is_kept_with_its_answer_and_time(http: httpx.Client, clock: FixedClock) -> None:
    """Automatic: no hand moves between event and answer. Transparent: the customer's figure, every request,
    its answer and its time can be read."""
    put_world(http)
    limit(http, LIMITS[0])
    for number, quantity in enumerate(("40", "70", "1"), 1):
        ask(http, quantity)
        send(http, [event(number, value="40")])
        clock.advance(timedelta(minutes=1))
    ask(http, "1", customer_id="acme")
    first = http.get("/v1/entitlements/checks", params={"limit": 3}).json()
    rest = http.get("/v1/entitlements/checks", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    kept = first["items"] + rest["items"]
    assert rest["next_cursor"] is None
    shown = [(one["asked_at"], one["quantity"], one["allowed"], one["used"], one["asked_by"]) for one in kept]
    assert shown == [
        ("2026-11-22T12:03:00Z", "1", False, "120", "test"),
        ("2026-11-22T12:02:00Z", "1", True, "80", "test"),
        ("2026-11-22T12:01:00Z", "70", False, "40", "test"),
        ("2026-11-22T12:00:00Z", "40", True, "0", "test"),
    ]
    assert [one["as_of_sequence"] for one in kept] == [3, 2, 1, 0]
    for params, count in (
        ({"allowed": "false"}, 2),
        ({"customer_id": "acme"}, 1),
        ({"contract_id": "acme-1"}, 4),
    ):
        assert len(http.get("/v1/entitlements/checks", params=params).json()["items"]) == count
    window = {"asked_from": "2026-11-22T12:01:00Z", "asked_to": "2026-11-22T12:02:00Z"}
    assert [
        one["quantity"] for one in http.get("/v1/entitlements/checks", params=window).json()["items"]
    ] == ["70"]


@pytest.mark.requirement("AUD-09")
def test_a_killed_process_loses_no_question(
    http: httpx.Client, state: Ratemill, event_store: EventStore
) -> None:
    """Kept in a file until they are in the store; a kill between the two leaves the file, and moving it a
    second time adds nothing."""
    put_world(http)
    folder = state.settings.data / FOLDER
    state.checks.close()  # from now on nobody moves them
    for _ in range(3):
        ask(http, "1")
    (file,) = folder.glob("*.ndjson")
    content = file.read_bytes()
    assert len(content.splitlines()) == 3
    for _ in range(2):
        CheckLog(event_store, state.settings.data).move()
        assert list(folder.iterdir()) == []
        assert len(list_checks(event_store, limit=9)) == 3
        file.write_bytes(content)


def test_the_commands_say_what_the_api_says(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    put_world(http)
    assert "Nobody has asked" in run("entitlement", "history").out
    limit(http, LIMITS[0])
    send(http, [event(1, value="95")])
    may = run("entitlement", "check", "calls", "--subject", "acme-eu", "--quantity", "5")
    assert (may.status, may.out.split("\n")[0].startswith("Allowed: within limit. 95 of 100 used")) == (
        0,
        True,
    )
    not_more = run("entitlement", "check", "calls", "--contract", "acme-1", "--quantity", "6")
    assert not_more.status == 1
    assert "Not allowed: over limit." in not_more.out
    assert run("entitlement", "check", "calls", "--customer", "acme", "--json").json()["allowed"] is True
    assert "over_limit" in run("entitlement", "history", "--contract", "acme-1").out
    assert "As of 2026-11-22T12:00:00Z, event number 1" in run("entitlement", "show", "acme-1").out


@pytest.mark.requirement("AUD-09")
def test_a_customer_sees_where_it_stands_as_of_when(http: httpx.Client, clock: FixedClock) -> None:
    """The figure is the one a question is answered by and the one of the contract's usage."""
    put_world(http)
    limit(http, *LIMITS)
    send(http, [event(1, value="42"), event(2, value="0.5", subject="acme-us") | {"time": NOW.isoformat()}])
    seen = http.get("/v1/contracts/acme-1/entitlements").json()
    assert (seen["as_of"], seen["as_of_sequence"]) == ("2026-11-22T12:00:00Z", 2)
    shown = [(one["period"]["name"], one["used"], one["limit"], one["remaining"]) for one in seen["items"]]
    assert shown == [("billing_period", "42.5", "100", "57.5"), ("day", "0.5", "60", "59.5")]
    assert ask(http, "0", contract_id="acme-1")["used"] == "42.5"
    items = http.get("/v1/contracts/acme-1/usage").json()["items"]
    assert sum(Decimal(item["quantity"]) for item in items) == Decimal("42.5")
    assert len(http.get("/v1/entitlements/checks").json()["items"]) == 1, "looking is not asking"
    clock.move_to(datetime(2026, 12, 1, tzinfo=UTC))
    assert [one["used"] for one in http.get("/v1/contracts/acme-1/entitlements").json()["items"]] == [
        "0",
        "0",
    ]
    assert http.get("/v1/contracts/nobody/entitlements").status_code == 404
