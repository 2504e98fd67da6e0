"""Two CRMs that speak differently: the reference dialect, and one that is nothing like it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from standardwebhooks import Webhook

from invoicing.crm.adapter import TOLERANCE, CrmAdapter, StandardAdapter, not_signed

Said = tuple[str, str, str, dict[str, Any]]
"""kind, external id, changed_at, data."""
Delivery = tuple[dict[str, str], bytes]


class FakeCrm(Protocol):
    """A CRM that has something to tell."""

    @property
    def adapter(self) -> CrmAdapter: ...

    def delivery(self, said: Sequence[Said], *, secret: str, now: datetime) -> Delivery:
        """A signed webhook: headers and body."""


class StandardCrm:
    """Speaks the reference dialect."""

    adapter: CrmAdapter = StandardAdapter()

    def delivery(self, said: Sequence[Said], *, secret: str, now: datetime) -> Delivery:
        names = ("kind", "external_id", "changed_at", "data")
        body = json.dumps({"changes": [dict(zip(names, each, strict=True)) for each in said]})
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": "v1,AAAA " + Webhook(secret).sign("msg_1", now, body),
        }
        return headers, body.encode()


_WORDS = {
    "customer": "company",
    "product": "item",
    "price_list": "book",
    "promotion": "campaign",
    "opportunity": "deal",
    "quote": "offer",
}
_KINDS = {word: kind for kind, word in _WORDS.items()}


class HubCrm:
    """Flat properties, milliseconds, words of its own, a signature of its own."""

    def __init__(self) -> None:
        self.adapter: CrmAdapter = HubAdapter()

    def delivery(self, said: Sequence[Said], *, secret: str, now: datetime) -> Delivery:
        events = [
            {
                "objectType": _WORDS.get(kind, kind),
                "objectId": external_id,
                "occurredAt": int(datetime.fromisoformat(changed_at).timestamp() * 1000),
                "properties": dict(_flat("", data)),
            }
            for kind, external_id, changed_at, data in said
        ]
        body = json.dumps(events).encode()
        return {"x-hub-time": str(int(now.timestamp())), "x-hub-signature": _sign(secret, now, body)}, body


@dataclass(frozen=True, slots=True)
class HubAdapter:
    def verify(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        sent_at = datetime.fromtimestamp(int(headers.get("x-hub-time", "0")), tz=UTC)
        if abs(now - sent_at) > TOLERANCE:
            raise not_signed("it is old")
        if not hmac.compare_digest(_sign(secret, sent_at, body), headers.get("x-hub-signature", "")):
            raise not_signed("the signature does not fit")

    def read(self, body: bytes) -> Sequence[Any]:
        return [
            {
                "kind": _KINDS.get(event["objectType"], event["objectType"]),
                "external_id": event["objectId"],
                "changed_at": datetime.fromtimestamp(event["occurredAt"] / 1000, tz=UTC).isoformat(),
                "data": _nested(event["properties"]),
            }
            for event in json.loads(body)
        ]


def _sign(secret: str, now: datetime, body: bytes) -> str:
    return hmac.new(f"{secret}{int(now.timestamp())}".encode(), body, hashlib.sha512).hexdigest()


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _flat(f"{prefix}/{name}", inner)]
    if isinstance(value, list):
        return [pair for place, inner in enumerate(value) for pair in _flat(f"{prefix}/#{place}", inner)]
    return [(prefix[1:], str(value))]


def _nested(properties: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, value in properties.items():
        *steps, last = path.split("/")
        place = root
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    return {name: _lists(inner) for name, inner in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.startswith("#") for name in value):
        return [_lists(value[name]) for name in sorted(value, key=lambda name: int(name[1:]))]
    return {name: _lists(inner) for name, inner in value.items()}


CRMS: tuple[FakeCrm, ...] = (StandardCrm(), HubCrm())
