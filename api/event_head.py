"""What the head of an ordinary request with events says, read by the parser that uvicorn uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httptools

from api.idempotency import HEADER

# Each asks for something that uvicorn, or the way through ``DirectIngest``, takes care of.
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", HEADER.lower().encode()})


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of an ordinary request says. length: bytes of its body."""

    authorization: str | None
    content_type: str
    content_encoding: str | None
    length: int


def read_head(head: bytes) -> Head | None:
    """The head (up to and with its empty line) of an ordinary POST /v1/events; None for any other."""
    reader = _HeadReader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    fields = reader.fields
    length = fields.get(b"content-length", b"")
    usual = reader.complete and parser.should_keep_alive() and _UNUSUAL.isdisjoint(fields)
    if not usual or not length.isdigit() or not int(length):
        return None
    return Head(
        _text(fields, b"authorization"),
        _text(fields, b"content-type") or "",
        _text(fields, b"content-encoding"),
        int(length),
    )


class _HeadReader:
    """Takes what the parser finds; of a field that is there twice the last, as ``DirectIngest`` does."""

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.complete = True


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    found = fields.get(name)
    return None if found is None else found.decode("latin-1")
