"""Lago's events (https://docs.getlago.com/api-reference/events/usage), read and answered.

An event is identified by external_subscription_id and transaction_id, as at Lago; here that is the
source ``lago/<external_subscription_id>`` and the id.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from api.compatible.unix_time import rfc3339_of_unix
from api.routes.events import report_answer
from ingest.errors import UnreadableBody
from ingest.load import IngestReport

SOURCE_PREFIX: Final = "lago/"
ALREADY_THERE: Final = "value_already_exist"

_RENAMED: Final = {"transaction_id": "id", "external_subscription_id": "subject", "code": "type"}
_OWN: Final = frozenset({*_RENAMED, "timestamp", "properties"})
_NOT_ATTRIBUTES: Final = frozenset({"specversion", "source", "id", "type", "subject", "time", "data"})
_FIELD_OF: Final = {name: field for field, name in _RENAMED.items()} | {
    "source": "external_subscription_id",
    "time": "timestamp",
    "value": "properties.value",
    "data": "properties",
}
_LAGO_CODE: Final = {"field_missing": "value_is_mandatory", "identity_conflict": ALREADY_THERE}


def is_lago(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object is Lago's envelope; a CloudEvent has a specversion."""
    return "event" in document and "specversion" not in document


def single_event(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event of a Lago body. Raises UnreadableBody."""
    event = document["event"]
    if not isinstance(event, dict):
        raise UnreadableBody("`event` must be an object.", reason_code="not_an_object")
    return event


def event_list(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The events of a Lago batch. Raises UnreadableBody."""
    events = document.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events) or not events:
        raise UnreadableBody(
            "a batch is an object whose `events` is a list of at least one event object.",
            reason_code="not_an_array",
        )
    return events


def cloudevent_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """A Lago event as a CloudEvent. ``properties`` become its data, other fields its attributes.

    What is wrong with a field is left for the rules of events to say.
    """
    attributes = {
        name: part
        for name, part in event.items()
        if name not in _OWN and name not in _NOT_ATTRIBUTES and part is not None
    }
    attributes |= {name: event[field] for field, name in _RENAMED.items() if event.get(field) is not None}
    subscription = event.get("external_subscription_id")
    if subscription is not None:
        attributes["source"] = f"{SOURCE_PREFIX}{subscription}"
    if event.get("timestamp") is not None:
        attributes["time"] = _time_of(event["timestamp"])
    return {"specversion": "1.0", **attributes, "data": event.get("properties") or {}}


def event_answer(event: Mapping[str, Any], *, received_at: str) -> dict[str, Any]:
    """The event as Lago answers it. ``lago_id`` is drawn from its identity: the same event, the same id."""
    subscription, transaction = event.get("external_subscription_id"), event.get("transaction_id")
    timestamp = event.get("timestamp")
    return {
        "lago_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{SOURCE_PREFIX}{subscription}\n{transaction}")),
        "transaction_id": transaction,
        "lago_customer_id": None,
        "lago_subscription_id": None,
        "external_subscription_id": subscription,
        "code": event.get("code"),
        "timestamp": received_at if timestamp is None else _time_of(timestamp),
        "precise_total_amount_cents": event.get("precise_total_amount_cents"),
        "properties": event.get("properties") or {},
        "created_at": received_at,
    }


def refusal_members(report: IngestReport, *, single: bool) -> dict[str, Any]:
    """The members by which a Lago client knows a refusal, and our report beside them.

    A batch has the details of each event refused under its place in the batch, from 0.
    """
    by_event: dict[str, dict[str, list[str]]] = {}
    for refusal in report.refusals:
        field = refusal.field.removeprefix("data.").split(".", 1)[0] if refusal.field else "base"
        word = _LAGO_CODE.get(refusal.reason_code, refusal.reason_code)
        details = by_event.setdefault(str(refusal.line - 1), {})
        details.setdefault(_FIELD_OF.get(field, refusal.field or field), []).append(word)
    return {
        "error": "Unprocessable Entity",
        "code": "validation_errors",
        "error_details": by_event.get("0", {}) if single else by_event,
        **report_answer(report, refusals_max=len(report.refusals)),
    }


def _time_of(timestamp: Any) -> Any:
    known = rfc3339_of_unix(timestamp) if isinstance(timestamp, str) else None
    return timestamp if known is None else known
