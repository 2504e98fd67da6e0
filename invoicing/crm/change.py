"""One thing that a CRM says of one of its objects, and files of such changes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, AwareDatetime, Field

from ingest.document import Document, read_document, read_documents, validate_document
from ingest.errors import InvalidDocument, InvalidInput, Issue, UnreadableBody

CrmKind = Literal["customer", "product", "price_list", "promotion", "opportunity", "quote"]
KINDS: Final[tuple[CrmKind, ...]] = (
    "customer",
    "product",
    "price_list",
    "promotion",
    "opportunity",
    "quote",
)
"""In the order in which they need each other."""
CHANGES_MAX: Final = 10_000
ISSUES_MAX: Final = 100
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
_HEAD: Final = ("kind", "external_id", "changed_at")
"""Columns that are fields of the change itself."""
_LISTS: Final = frozenset({"address_lines", "product_ids", "product_external_ids"})
"""Columns whose cells hold several texts, divided by ``|``."""


def _in_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


def _storable(data: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError for what would come back from the ledger as something else, or not at all."""
    try:
        orjson.dumps(data, default=str)  # half a surrogate pair, a key that is no text, a number of 20 digits
        json.dumps(data, default=str, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from None
    return data


class CrmChange(Document):
    """An object of a CRM as it is at ``changed_at``, the CRM's own time of the change: of two changes of an
    object the later one holds, in whatever order they arrive. data: all of the object, as ``apply.py``
    reads each kind; where our documents name one of another kind, it may be named by its external id."""

    kind: CrmKind
    external_id: str = Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f/]+$")
    changed_at: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    data: Annotated[dict[str, Any], AfterValidator(_storable)]


def check_changes(documents: Sequence[Any]) -> list[CrmChange]:
    """All of them or none. Raises InvalidInput for too many or none, InvalidDocument with what is wrong."""
    if not 1 <= len(documents) <= CHANGES_MAX:
        raise InvalidInput(
            f"there are {len(documents):,} changes; one delivery holds 1 to {CHANGES_MAX:,}. Nothing was "
            "taken.",
            reason_code="crm_change_count",
        )
    changes: list[CrmChange] = []
    issues: list[Issue] = []
    for place, document in enumerate(documents):
        try:
            changes.append(validate_document(CrmChange, document, what="a change"))
        except InvalidDocument as error:
            issues += [
                Issue(each.reason_code, f"[{place}].{each.pointer}", each.message, each.expected)
                for each in error.issues
            ]
    if issues:
        raise InvalidDocument("what the CRM sent", issues[:ISSUES_MAX])
    return changes


def read_changes(body: bytes, *, media_type: str, kind: str | None) -> list[dict[str, Any]]:
    """The changes of a file: JSON or YAML, a JSON object a line, or CSV. kind: of those that do not say it.

    In CSV, columns beside kind, external_id and changed_at are fields of the object, as is ``data.kind``;
    ``prices.EUR`` is a member of one, and several texts in a cell are divided by ``|``.
    Raises UnreadableBody.
    """
    if media_type == CSV:
        documents = [_from_cells(row) for row in _rows(body)]
    elif media_type == NDJSON:
        documents = [
            _from_line(number, line) for number, line in enumerate(body.splitlines(), start=1) if line
        ]
    else:
        documents = read_documents(body)
    return [document if kind is None else {"kind": kind, **document} for document in documents]


def _from_line(number: int, line: bytes) -> dict[str, Any]:
    if not line.lstrip().startswith(b"{"):
        raise UnreadableBody(f"line {number} is no JSON object. Nothing was taken.")
    try:
        return read_document(line)
    except UnreadableBody as error:
        raise UnreadableBody(f"line {number}: {error} Nothing was taken.") from None


def _rows(body: bytes) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        _refuse_twice(reader.fieldnames or ())
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableBody(f"the file is no CSV in UTF-8: {error}. Nothing was taken.") from None
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise UnreadableBody(
                f"record {number} has another number of cells than the heading. Nothing was taken."
            )
    return rows


def _refuse_twice(heading: Sequence[str]) -> None:
    """Two columns of one field, or of a field and of a member of it: one would take the other's place."""
    places = [name if name in _HEAD else f"data.{name.removeprefix('data.')}" for name in heading]
    whole = set(places)
    if len(whole) == len(places) and not any(_group(place) in whole for place in places):
        return
    raise UnreadableBody("two columns of the heading are for the same field. Nothing was taken.")


def _group(place: str) -> str | None:
    """``data.prices`` of ``data.prices.EUR``."""
    parts = place.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else None


def _from_cells(row: Mapping[str, str]) -> dict[str, Any]:
    head = {name: row[name] for name in _HEAD if row.get(name)}
    data: dict[str, Any] = {}
    for name, cell in row.items():
        if not cell or name in head:
            continue
        group, _, member = name.removeprefix("data.").partition(".")
        value: Any = [part.strip() for part in cell.split("|")] if (member or name) in _LISTS else cell
        if member:
            data.setdefault(group, {})[member] = value
        else:
            data[group] = value
    return {**head, "data": data}
