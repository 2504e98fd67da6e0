"""Which formats events may come in, and how a request or a file name says so."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from ingest.errors import UnreadableBody

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS_BATCH: Final = "application/cloudevents-batch+json"

MEDIA_TYPES: Final = (
    NDJSON, JSON, CSV, PARQUET, ARROW_STREAM, ARROW_FILE, CLOUDEVENT, CLOUDEVENTS_BATCH,
)  # fmt: skip
_SAME: Final = {
    "application/jsonl": NDJSON,
    "application/ndjson": NDJSON,
    "application/x-jsonlines": NDJSON,
    "application/parquet": PARQUET,
    "application/x-parquet": PARQUET,
    "application/csv": CSV,
}
CONTENT_ENCODINGS: Final = ("identity", "gzip", "zstd")

_SUFFIXES: Final = {
    ".ndjson": NDJSON,
    ".jsonl": NDJSON,
    ".json": JSON,
    ".csv": CSV,
    ".parquet": PARQUET,
    ".arrow": ARROW_FILE,
    ".arrows": ARROW_STREAM,
}
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd"}


@lru_cache(maxsize=256)
def known_media_type(content_type: str) -> str:
    """The media type without parameters, one of MEDIA_TYPES. Raises UnreadableBody if unknown.

    Text must be UTF-8: another ``charset`` is refused rather than guessed.
    """
    name, *parameters = (part.strip().lower() for part in content_type.split(";"))
    found = _SAME.get(name, name)
    if found not in MEDIA_TYPES:
        raise UnreadableBody(
            f"content type {name or 'none'!r} is not known. Known are: {', '.join(MEDIA_TYPES)}.",
            reason_code="unknown_content_type",
        )
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if key.strip() == "charset" and text.strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise UnreadableBody(f"{parameter} is not read; send UTF-8.", reason_code="unknown_content_type")
    return found


@lru_cache(maxsize=256)
def known_content_encoding(content_encoding: str | None) -> str:
    """One of CONTENT_ENCODINGS; None and the empty text are ``identity``. Raises UnreadableBody."""
    name = (content_encoding or "identity").strip().lower()
    name = {"x-gzip": "gzip"}.get(name, name)
    if name not in CONTENT_ENCODINGS:
        raise UnreadableBody(
            f"content encoding {name!r} is not known. Known are: {', '.join(CONTENT_ENCODINGS)}.",
            reason_code="unknown_content_encoding",
        )
    return name


def file_media_type(path: Path) -> tuple[str, str]:
    """(media type, content encoding) by the name of a file. Raises UnreadableBody if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    encoding = "identity"
    if suffixes and suffixes[-1] in _COMPRESSED:
        encoding = _COMPRESSED[suffixes.pop()]
    if not suffixes or suffixes[-1] not in _SUFFIXES:
        raise UnreadableBody(
            f"{path.name}: the format is told by the end of the name, and this one is not known. "
            f"Known are: {', '.join(_SUFFIXES)}, each also with {' or '.join(_COMPRESSED)}.",
            reason_code="unknown_content_type",
        )
    return _SUFFIXES[suffixes[-1]], encoding
