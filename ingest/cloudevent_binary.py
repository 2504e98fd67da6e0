"""CloudEvents in binary mode: attributes in headers with a prefix, data in the body.

Sources: https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/bindings, 3.1 of the HTTP and NATS
bindings (prefix ``ce-``, percent-encoded) and 3.2 of the Kafka binding (prefix ``ce_``, plain UTF-8).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import orjson

from ingest.errors import UnreadableBody
from ingest.json_slow import EVENT_EXPECTED, read_object
from ingest.refusal import Problem

HTTP_PREFIX: Final = "ce-"
KAFKA_PREFIX: Final = "ce_"

Headers = Sequence[tuple[str, str]]
"""(lower-case name, text), in the order sent."""


def binary_prefix(headers: Headers) -> str | None:
    """The prefix under which the headers hold an event's attributes; None when they hold none."""
    names = {name for name, _ in headers}
    return next((prefix for prefix in (HTTP_PREFIX, KAFKA_PREFIX) if f"{prefix}specversion" in names), None)


def binary_cloudevent(headers: Headers, body: bytes, *, prefix: str) -> dict[str, Any]:
    """The event as one JSON object, numbers of its data as texts.

    Raises UnreadableBody when an attribute comes twice, or the data is not a JSON object.
    """
    event: dict[str, Any] = {}
    for header, text in headers:
        if not header.startswith(prefix):
            continue
        name = header.removeprefix(prefix)
        if name in event or name == "data":
            raise UnreadableBody(
                f"the header {header} cannot be read; give each once.", reason_code="field_twice"
            )
        event[name] = _decoded(text) if prefix == HTTP_PREFIX else text
    media_type = dict(headers).get("content-type", "application/json").split(";")[0].strip().lower()
    if body.strip() and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnreadableBody(
            f"the data of the event is {media_type or 'of no type'}; send application/json, an object.",
            reason_code="unknown_content_type",
        )
    event["data"] = read_json_object(body) if body.strip() else None
    return event


def cloudevents_json(events: Sequence[Mapping[str, Any]]) -> bytes:
    """Events as one JSON array, whatever their texts hold. Raises UnreadableBody when nested too deeply."""
    try:
        return orjson.dumps(list(events))
    except TypeError:
        # Half a surrogate pair has no UTF-8; escaped, it comes to the rules of events, which refuse it.
        try:
            return json.dumps(list(events)).encode()
        except RecursionError as error:
            raise UnreadableBody("the event is nested too deeply.", reason_code="malformed_json") from error


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise UnreadableBody(
            f"the header value {text[:80]!r} is not percent-encoded UTF-8.", reason_code="not_utf8"
        ) from error


def read_json_object(body: bytes) -> dict[str, Any]:
    """A JSON object, its numbers as the text that was sent. Raises UnreadableBody."""
    found = read_object(body, expected=EVENT_EXPECTED)
    if isinstance(found, Problem):
        raise UnreadableBody(
            f"the body cannot be read: {found.message} Expected: a JSON object.",
            reason_code=found.reason_code,
        )
    return found
