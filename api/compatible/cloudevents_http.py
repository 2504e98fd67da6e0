"""CloudEvents over HTTP in binary mode: attributes in ``ce-`` headers, data in the body.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md, 3.1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from api.compatible.take import read_object
from ingest.errors import UnreadableBody

PREFIX: Final = "ce-"


def is_binary_mode(headers: Mapping[str, str]) -> bool:
    """Whether the headers hold an event's attributes."""
    return f"{PREFIX}specversion" in headers


def binary_cloudevent(headers: Sequence[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """The event as one JSON object. headers: (lower-case name, text), in the order sent.

    Raises UnreadableBody when an attribute comes twice, or the data is not a JSON object.
    """
    event: dict[str, Any] = {}
    for header, text in headers:
        if not header.startswith(PREFIX):
            continue
        name = header.removeprefix(PREFIX)
        if name in event or name == "data":
            raise UnreadableBody(
                f"the header {header} cannot be read; give each once.", reason_code="field_twice"
            )
        event[name] = unquote(text)
    media_type = dict(headers).get("content-type", "application/json").split(";")[0].strip().lower()
    if body.strip() and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnreadableBody(
            f"the data of the event is {media_type or 'of no type'}; send application/json, an object.",
            reason_code="unknown_content_type",
        )
    event["data"] = read_object(body) if body.strip() else None
    return event
