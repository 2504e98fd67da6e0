"""Files of billable items: CSV, JSON, and the export of a project, as documents of items.

Nothing is guessed: what a file leaves out must be said beside it, and a column that is no field of an item
goes into its ``fields``. What comes out is checked by ``import_items`` like any other item.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text, read_documents, validate_document
from ingest.errors import InvalidInput, Issue, UnreadableBody
from ingest.meter import Key
from invoicing.billable_item import BillableItem
from rating.price_plan import CurrencyCode

_NUMBER_FIELDS: Final = frozenset({"quantity", "unit_price", "amount"})
_MILLISECONDS: Final = Decimal(3_600_000)
_HOUR_STEP: Final = Decimal("0.000001")
_DONE: Final = frozenset({"done", "closed", "complete", "completed"})


@dataclass(frozen=True, slots=True)
class ReadItems:
    """documents: of items. waiting: what the file holds that cannot be billed yet, in words."""

    documents: Sequence[Mapping[str, Any]]
    waiting: Sequence[str] = ()


class TimeEntry(Document):
    """Work on a task. One of hours and duration_ms. billable: as its task, unless it says otherwise."""

    id: str = Field(min_length=1, max_length=128)
    date: str
    hours: ExactDecimal | None = None
    duration_ms: int | None = Field(default=None, ge=1)
    person: str = ""
    role: str = ""
    note: str = ""
    billable: bool | None = None


class Task(Document):
    """One task of a project: its time entries are billed as they come, its ``amount`` once it is done on
    ``date``. rate: an hour costs that; left out, the rate card of the contract prices it."""

    id: str = Field(min_length=1, max_length=128)
    name: str = Field(min_length=1, max_length=512)
    list: str = ""
    status: str = ""
    billable: bool = True
    rate: ExactDecimal | None = None
    amount: ExactDecimal | None = None
    date: str | None = None
    service: str = ""
    custom_fields: dict[str, str] = Field(default_factory=dict)
    time_entries: tuple[TimeEntry, ...] = ()


class ProjectExport(Document):
    """The export of a project tool. currency: of all rates and amounts in it."""

    project: str = Field(min_length=1, max_length=256)
    source_system: Key
    customer_id: Key | None = None
    contract_id: Key | None = None
    currency: CurrencyCode | None = None
    tax_class: str = ""
    tasks: tuple[Task, ...]


def read_items(body: bytes, *, media_type: str, given: Mapping[str, str]) -> ReadItems:
    """The documents in a file. media_type: ``text/csv``, else JSON or YAML: items, ``{"items": [...]}``, or a
    project export. given: values of fields that the file leaves out. Raises UnreadableBody, InvalidDocument
    for a project export that breaks its form."""
    if media_type == "text/csv":
        return ReadItems([_filled(row, given) for row in _csv_rows(body)])
    documents = read_documents(body)
    if len(documents) == 1 and "tasks" in documents[0]:
        return _project(
            validate_document(ProjectExport, documents[0], what="the project", rules=_project_rules), given
        )
    if len(documents) == 1 and set(documents[0]) == {"items"}:
        documents = documents[0]["items"]
    if not isinstance(documents, list) or not all(isinstance(one, Mapping) for one in documents):
        raise UnreadableBody("items must be a list of mappings of names to values.")
    return ReadItems([_filled(one, given) for one in documents])


def _filled(document: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    return {**given, **document}


def _csv_rows(body: bytes) -> Iterator[dict[str, Any]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the file is not UTF-8 text: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not header or len(set(header)) != len(header) or not all(header):
            raise UnreadableBody("the first row must name each column once, like date,quantity,description.")
        for row in rows:
            if any(cell.strip() for cell in row):
                if len(row) != len(header):
                    said = f"row {rows.line_num} has {len(row)} cells and the header {len(header)}."
                    raise UnreadableBody(said)
                yield _csv_item(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise UnreadableBody(f"row {rows.line_num} of the file is no CSV: {error}") from error


def _csv_item(cells: Mapping[str, str]) -> dict[str, Any]:
    """Empty cells are left out, so that defaults hold; columns that are no field go to ``fields``."""
    own = BillableItem.model_fields.keys() - {"fields"}
    item: dict[str, Any] = {}
    fields = {}
    for name, cell in cells.items():
        value = cell.strip() if name in own else cell
        if not value:
            continue
        if name in own:
            item[name] = value.replace(" ", "") if name in _NUMBER_FIELDS else value
        else:
            fields[name] = value
    return {**item, "fields": fields} if fields else item


def _project(export: ProjectExport, given: Mapping[str, str]) -> ReadItems:
    documents: list[Mapping[str, Any]] = []
    waiting = []
    for task in export.tasks:
        base = {
            **{name: value for name, value in given.items() if name != "source"},
            "source": "project",
            "source_system": export.source_system,
            "project": export.project,
            "list": task.list,
            "description": task.name,
            "service": task.service,
            "tax_class": export.tax_class,
            "fields": dict(task.custom_fields),
        }
        base |= {
            name: value
            for name, value in (("customer_id", export.customer_id), ("contract_id", export.contract_id))
            if value is not None
        }
        documents += [_entry_item(base, export, task, entry) for entry in task.time_entries]
        if task.amount is None:
            continue
        if task.status.casefold() not in _DONE:
            waiting.append(f"task {task.id} ({task.name}): its amount is billed once its status is done.")
            continue
        own = {"external_id": task.id, "date": task.date, "amount": task.amount}
        documents.append({**base, **own, "currency": export.currency, **_billable(task.billable)})
    return ReadItems(documents, waiting)


def _entry_item(
    base: Mapping[str, Any], export: ProjectExport, task: Task, entry: TimeEntry
) -> dict[str, Any]:
    rate = {} if task.rate is None else {"unit_price": task.rate, "currency": export.currency}
    billable = task.billable if entry.billable is None else entry.billable
    return {
        **base,
        "external_id": f"{task.id}/{entry.id}",
        "date": entry.date,
        "quantity": hours_of(entry),
        "unit": "hour",
        "person": entry.person,
        "role": entry.role,
        **rate,
        **_billable(billable),
    }


def hours_of(entry: TimeEntry) -> Decimal:
    """Hours as stated; of a duration, rounded half-up to a millionth of an hour (3.6 milliseconds).

    >>> decimal_text(hours_of(TimeEntry(id="1", date="2026-01-01", duration_ms=9_000_000)))
    '2.5'
    """
    if entry.hours is not None:
        return entry.hours
    if entry.duration_ms is None:
        raise InvalidInput(f"time entry {entry.id!r} has no duration.", reason_code="project_entry")
    return (Decimal(entry.duration_ms) / _MILLISECONDS).quantize(_HOUR_STEP, ROUND_HALF_UP)


def _billable(billable: bool) -> dict[str, Any]:
    return {} if billable else {"billable": False, "not_billable_reason": "not billable in the project"}


def _project_rules(export: ProjectExport) -> Iterator[Issue]:
    priced = any(task.rate is not None or task.amount is not None for task in export.tasks)
    if priced and export.currency is None:
        yield Issue("item_currency", "currency", "Tasks have rates or amounts.", "the currency they are in.")
    for place, task in enumerate(export.tasks):
        if task.amount is not None and task.date is None and task.status.casefold() in _DONE:
            yield Issue(
                "project_task",
                f"tasks[{place}].date",
                f"Task {task.id!r} is done and has an amount, and no date.",
                "the day it was done.",
            )
        for number, entry in enumerate(task.time_entries):
            if (entry.hours is None) == (entry.duration_ms is None):
                yield Issue(
                    "project_entry",
                    f"tasks[{place}].time_entries[{number}]",
                    f"Time entry {entry.id!r} has both hours and duration_ms, or neither.",
                    f"one of them, like hours: {decimal_text(Decimal('2.5'))}.",
                )
