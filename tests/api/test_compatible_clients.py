"""Goal: the unmodified client packages of other products work against a running `ratemill serve`.

Every client is the real one from PyPI, told nothing but another address and our key.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent
from corehttp.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from lago_python_client.client import Client as LagoClient
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models.event import BatchEvent, Event
from openmeter import Client as OpenMeterClient
from stripe import AuthenticationError, InvalidRequestError, StripeClient

from api.auth import create_key
from ingest.ledger import default_ledger_url, open_ledger
from tests.api.test_serve import RATEMILL, environment

METERS: tuple[dict[str, Any], ...] = (
    {"meter_id": "tokens", "event_type": "prompt", "aggregation": "sum", "factors": ["properties.tokens"]},
    {"meter_id": "prompts", "event_type": "prompt", "aggregation": "count", "group_by": ["model"]},
    {"meter_id": "storage", "event_type": "storage", "aggregation": "sum"},
)


class Served:
    """A running server: its address, an admin key, and what it holds."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def events(self, event_type: str) -> dict[str, Any]:
        items = self.http.get("/v1/events", params={"type": event_type, "limit": 1000}).json()["items"]
        return {item["id"]: SimpleNamespace(**item) for item in items}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served") / "data"
    process = subprocess.Popen(
        [*RATEMILL, "serve", "--port", "0", "--json"], env=environment(folder), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = orjson.loads(process.stdout.readline())["url"]
        server = Served(url, _admin_key(folder))
        with server.http:
            for meter in METERS:
                server.http.put(f"/v1/meters/{meter['meter_id']}", json=meter).raise_for_status()
            yield server
    finally:
        process.kill()
        process.communicate()


def _admin_key(folder: Path) -> str:
    ledger = open_ledger(default_ledger_url(folder))
    _, token = create_key(ledger, name="clients", scopes=["admin"], now=datetime.now(UTC))
    ledger.dispose()
    return token


def prompt(number: int, *, of: str = "customer", **changes: Any) -> Any:
    """An event as OpenMeter's quick start writes it. of: whose, so that tests do not count each other's."""
    return {
        "id": f"p{number}",
        "source": of,
        "specversion": "1.0",
        "type": "prompt",
        "subject": f"{of}-{number % 2}",
        "time": datetime(2026, 3, 1, number, 30, tzinfo=UTC),
        "data": {"tokens": "0.1", "model": "large" if number % 3 else "small"},
        **changes,
    }


@pytest.fixture
def openmeter(served: Served) -> Iterator[OpenMeterClient]:
    with OpenMeterClient(endpoint=served.url, token=served.key) as client:
        yield client


@pytest.mark.requirement("MET-01")
@pytest.mark.requirement("MET-09")
def test_openmeter_sends_and_asks(served: Served, openmeter: OpenMeterClient) -> None:
    openmeter.events.ingest_event(prompt(1, of="asks"))
    openmeter.events.ingest_events([prompt(number, of="asks") for number in range(1, 11)])
    openmeter.events.ingest_events_json([prompt(11, of="asks", time="2026-03-01T11:30:00Z")])
    assert {f"p{number}" for number in range(1, 12)} <= set(served.events("prompt"))

    both = ["asks-0", "asks-1"]
    start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    day = openmeter.meters.query_json("tokens", from_parameter=start, to=end, window_size="DAY", subject=both)
    assert [(row.window_start, row.window_end, row.value) for row in day.data] == [(start, end, 1.1)]
    one = openmeter.meters.query_json("tokens", from_parameter=start, to=end, subject=["asks-1"])
    assert [(row.subject, row.value) for row in one.data] == [("asks-1", 0.6)]
    apart = openmeter.meters.query_json(
        "prompts", from_parameter=start, to=end, group_by=["subject", "model"], subject=both
    )
    assert [(row.subject, row.group_by["model"], row.value) for row in apart.data] == [
        ("asks-0", "large", 4),
        ("asks-0", "small", 1),
        ("asks-1", "large", 4),
        ("asks-1", "small", 2),
    ]
    small = openmeter.meters.query_json(
        "prompts", from_parameter=start, to=end, filter_group_by={"model": "small"}, subject=both
    )
    assert [row.value for row in small.data] == [3]
    posted = openmeter.meters.query(
        "prompts", {"from": start.isoformat(), "windowSize": "HOUR", "subject": both}
    )
    assert len(posted.data) == 11
    assert posted.data[0].window_start == datetime(2026, 3, 1, 1, tzinfo=UTC)


def test_openmeter_gets_the_exact_digits(served: Served, openmeter: OpenMeterClient) -> None:
    """Eleven times 0.1 is 1.1 on the wire; in binary floating point it is 1.0999999999999999."""
    openmeter.events.ingest_events([prompt(number, of="digits", subject="digits") for number in range(1, 12)])
    text = served.http.get("/api/v1/meters/tokens/query", params={"subject": "digits"}).text
    assert '"value":1.1,' in text


def test_openmeter_lists_events(served: Served, openmeter: OpenMeterClient) -> None:
    openmeter.events.ingest_events([prompt(number, of="lists") for number in range(1, 4)])
    start = datetime(2026, 3, 1, tzinfo=UTC)
    end = datetime(2026, 3, 1, 4, tzinfo=UTC)
    found = openmeter.events.list(from_parameter=start, to=end, subject="lists-1")
    assert [(one.event.id, one.event.data) for one in found] == [
        ("p3", {"tokens": "0.1", "model": "small"}),
        ("p1", {"tokens": "0.1", "model": "large"}),
    ]
    assert found[0].ingested_at.tzinfo is not None
    assert found[0].validation_error is None


def test_openmeter_lists_meters(openmeter: OpenMeterClient) -> None:
    meters = {meter.slug: meter for meter in openmeter.meters.list()}
    assert {
        slug: (meter.aggregation, meter.event_type, meter.value_property) for slug, meter in meters.items()
    } == {
        "tokens": ("SUM", "prompt", "$.tokens"),
        "prompts": ("COUNT", "prompt", None),
        "storage": ("SUM", "storage", "$.value"),
    }
    assert openmeter.meters.list(page=2) == []
    assert openmeter.meters.get("prompts").group_by == {"model": "$.model"}
    assert openmeter.meters.get("prompts").created_at.tzinfo is not None
    with pytest.raises(ResourceNotFoundError):
        openmeter.meters.get("nothing")


def test_openmeter_hears_what_is_wrong(served: Served, openmeter: OpenMeterClient) -> None:
    nested = prompt(20, data={"tokens": "1", "model": {"name": "large"}})
    with pytest.raises(HttpResponseError) as caught:
        openmeter.events.ingest_events([prompt(21), nested])
    answer: Any = caught.value.response
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["refusals"][0]["line"] == 2
    assert problem["refusals"][0]["reason_code"] == "property_not_text"
    assert "p21" in served.events("prompt")
    assert "p20" not in served.events("prompt")
    refused = served.http.get("/v1/events/refused", params={"reason_code": "property_not_text"}).json()[
        "items"
    ]
    assert '"p20"' in refused[0]["record"]
    with (
        OpenMeterClient(endpoint=served.url, token="wrong") as stranger,
        pytest.raises(ClientAuthenticationError),
    ):
        stranger.events.ingest_event(prompt(22))


def test_lago_sends_one_and_many(served: Served) -> None:
    client = LagoClient(api_key=served.key, api_url=served.url)
    event = Event(
        transaction_id="t1",
        external_subscription_id="sub-1",
        code="storage",
        timestamp=1772323200,
        precise_total_amount_cents="12.345678",
        properties={"value": 12.5, "region": "eu", "cold": True},
    )
    answered = client.events.create(event)
    assert answered is not None
    assert (answered.transaction_id, answered.timestamp) == ("t1", "2026-03-01T00:00:00Z")
    again = client.events.create(event)
    assert again is not None
    assert again.lago_id == answered.lago_id
    # The same transaction of another subscription is another event, as at Lago.
    others = [
        Event(
            transaction_id=transaction,
            external_subscription_id="sub-2",
            code="storage",
            timestamp="1772323200.1234567",
            precise_total_amount_cents=None,
            properties={"value": "0.000000000001"},
        )
        for transaction in ("t1", "t2")
    ]
    client.events.batch_create(BatchEvent(events=others))
    stored = served.http.get("/v1/events", params={"type": "storage"}).json()["items"]
    assert sorted((item["source"], item["id"], item["value"], item["time"]) for item in stored) == [
        ("lago/sub-1", "t1", "12.5", "2026-03-01T00:00:00Z"),
        ("lago/sub-2", "t1", "0.000000000001", "2026-03-01T00:00:00.123456Z"),
        ("lago/sub-2", "t2", "0.000000000001", "2026-03-01T00:00:00.123456Z"),
    ]
    first = next(item for item in stored if item["subject"] == "sub-1")
    assert first["properties"] == {
        "region": "eu",
        "cold": "true",
        "precise_total_amount_cents": "12.345678",
    }


def test_lago_hears_what_is_wrong(served: Served) -> None:
    client = LagoClient(api_key=served.key, api_url=served.url)

    def event(transaction: str, value: str, timestamp: str = "1772323200") -> Event:
        return Event(
            transaction_id=transaction,
            external_subscription_id="sub-3",
            code="traffic",
            timestamp=timestamp,
            precise_total_amount_cents=None,
            properties={"value": value},
        )

    client.events.create(event("t1", "1"))
    with pytest.raises(LagoApiError) as other_body:
        client.events.create(event("t1", "2"))
    assert other_body.value.status_code == 422
    assert other_body.value.response["error_details"] == {"transaction_id": ["value_already_exist"]}
    with pytest.raises(LagoApiError) as partly:
        client.events.batch_create(
            BatchEvent(events=[event("t2", "3"), event("t3", "x"), event("t4", "1", "soon")])
        )
    assert partly.value.response["error_details"] == {
        "1": {"properties.value": ["value_not_a_number"]},
        "2": {"timestamp": ["time_unreadable"]},
    }
    assert partly.value.response["accepted"] == 1
    assert sorted(served.events("traffic")) == ["t1", "t2"]
    with pytest.raises(LagoApiError) as stranger:
        LagoClient(api_key="wrong", api_url=served.url).events.create(event("t9", "1"))
    assert stranger.value.status_code == 401


@pytest.mark.requirement("MET-09")
def test_stripe_sends_a_meter_event(served: Served) -> None:
    client = StripeClient(served.key, base_addresses={"api": served.url})
    made = client.v1.billing.meter_events.create(
        {
            "event_name": "api_requests",
            "identifier": "i1",
            "timestamp": 1772323200,
            "payload": {"stripe_customer_id": "cus_1", "value": "25", "region": "eu"},
        }
    )
    assert (made.object, made.identifier, made.timestamp) == ("billing.meter_event", "i1", 1772323200)
    assert made.payload["value"] == "25"
    assert made.livemode is True
    with pytest.raises(InvalidRequestError, match="An event already exists with identifier i1") as twice:
        client.v1.billing.meter_events.create(
            {
                "event_name": "api_requests",
                "identifier": "i1",
                "payload": {"stripe_customer_id": "cus_1", "value": "25"},
            }
        )
    assert twice.value.http_status == 400
    stored = served.events("api_requests")["i1"]
    assert (stored.source, stored.subject, stored.value) == ("stripe", "cus_1", "25")
    assert (stored.time, stored.properties) == ("2026-03-01T00:00:00Z", {"region": "eu"})


def test_stripe_without_identifier_counts_a_repeated_request_once(served: Served) -> None:
    client = StripeClient(served.key, base_addresses={"api": served.url})
    event: Any = {
        "event_name": "sms-repeated",
        "timestamp": 1772323200,
        "payload": {"stripe_customer_id": "cus_1", "value": "1"},
    }
    first = client.v1.billing.meter_events.create(event, {"idempotency_key": "k1"})
    second = client.v1.billing.meter_events.create(event, {"idempotency_key": "k1"})
    third = client.v1.billing.meter_events.create(event)
    assert first.identifier == second.identifier != third.identifier
    assert len(served.events("sms-repeated")) == 2


def test_stripe_hears_what_is_wrong(served: Served) -> None:
    client = StripeClient(served.key, base_addresses={"api": served.url})
    with pytest.raises(InvalidRequestError) as no_number:
        client.v1.billing.meter_events.create(
            {"event_name": "sms", "payload": {"stripe_customer_id": "cus_1", "value": "many"}}
        )
    assert no_number.value.param == "payload[value]"
    with pytest.raises(InvalidRequestError) as nobody:
        client.v1.billing.meter_events.create({"event_name": "sms", "payload": {"value": "1"}})
    assert nobody.value.param == "payload[stripe_customer_id]"
    with pytest.raises(AuthenticationError):
        StripeClient("wrong", base_addresses={"api": served.url}).v1.billing.meter_events.create(
            {"event_name": "sms", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}
        )
    # As Stripe's documentation calls it: curl -u KEY:
    by_hand = httpx.post(
        f"{served.url}/v1/billing/meter_events",
        auth=(served.key, ""),
        data={"event_name": "sms", "payload[stripe_customer_id]": "cus_2", "payload[value]": "2"},
        timeout=60,
    )
    assert by_hand.status_code == 200, by_hand.text


@pytest.mark.parametrize("write", [to_binary, to_structured], ids=["binary", "structured"])
def test_cloudevents_in_both_modes(served: Served, write: Any) -> None:
    name = f"ce-{write.__name__}"
    attributes = {
        "id": name,
        "source": "https://meters.example/größe",
        "type": "reading",
        "subject": "house 7",
        "time": "2026-03-01T10:00:00Z",
        "shard": "7",
    }
    headers, body = write(CloudEvent(attributes, {"value": "3.25", "unit": "kWh"}))
    headers = dict(headers)
    headers["ce-source" if write is to_binary else "x-unused"] = "https://meters.example/gr%C3%B6%C3%9Fe"
    answer = served.http.post("/api/v1/events", headers=headers, content=body)
    assert answer.status_code == 204, answer.text
    stored = served.events("reading")[name]
    assert (stored.source, stored.subject, stored.value) == (
        "https://meters.example/größe",
        "house 7",
        "3.25",
    )
    assert stored.properties == {"shard": "7", "unit": "kWh"}


def test_all_clients_find_one_another_in_one_store(served: Served) -> None:
    """Nothing but the source keeps them apart, so the two cannot count for one another by chance."""
    with OpenMeterClient(endpoint=served.url, token=served.key) as openmeter:
        openmeter.events.ingest_event(prompt(1, id="same", type="shared", source="chat"))
    StripeClient(served.key, base_addresses={"api": served.url}).v1.billing.meter_events.create(
        {"event_name": "shared", "identifier": "same", "payload": {"stripe_customer_id": "c", "value": "1"}}
    )
    items = served.http.get("/v1/events", params={"type": "shared"}).json()["items"]
    assert sorted(item["source"] for item in items) == ["chat", "stripe"]
