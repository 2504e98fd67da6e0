"""An OpenMeter meter query: read from a URL or a JSON body, answered from our usage.

Source: the API of OpenMeter v1, GET and POST /api/v1/meters/{idOrSlug}/query.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa

from api.json import rows_of
from ingest.asked_events import AskedEvents
from ingest.clickhouse import EventStore
from ingest.document import decimal_text
from ingest.errors import InvalidInput, Issue
from ingest.event import TIME_MAX, TIME_MIN
from ingest.meter import Meter, MeterFilter
from rollup.usage import Window
from rollup.usage_by_subject import (
    UsageBySubject,
    Windows,
    query_usage_by_subject,
    time_span,
    tumbling_windows,
)

SUBJECTS_MAX: Final = 100
SUBJECT: Final = "subject"

_WINDOWS: Final[dict[str, Window]] = {
    "MINUTE": "minute",
    "HOUR": "hour",
    "DAY": "day",
    "MONTH": "month",
}
_FILTER_PARAMETER: Final = re.compile(r"filterGroupBy\[([^\]]+)\](?:\[\])?\Z")
_PRINTED_CHARACTERS_MAX: Final = 2_000
_NOT_ANSWERED: Final = {
    "filterCustomerId": "name the subjects in `subject` instead.",
    "advancedMeterGroupByFilters": "use filterGroupBy, which compares with exact values.",
}


@dataclass(frozen=True, slots=True)
class MeterQuery:
    """What is asked. filters: property -> the values it may have. subjects: empty for all."""

    time_from: datetime | None = None
    time_to: datetime | None = None
    window: str | None = None
    time_zone: str = "UTC"
    subjects: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def query_of_url(parameters: Sequence[tuple[str, str]]) -> MeterQuery:
    """The query in URL parameters, in the order sent. Raises InvalidInput."""
    fields: dict[str, Any] = {}
    filters: dict[str, list[str]] = {}
    for name, text in parameters:
        filtered = _FILTER_PARAMETER.match(name)
        if filtered is not None:
            filters.setdefault(filtered[1], []).append(text)
        elif name == "filterGroupBy":
            for key, part in _printed_filter(text).items():
                filters.setdefault(key, []).append(part)
        elif name in ("subject", "groupBy", *_NOT_ANSWERED):
            fields.setdefault(name, []).append(text)
        else:
            fields[name] = text
    return query_of_document({**fields, "filterGroupBy": filters})


def query_of_document(document: Mapping[str, Any]) -> MeterQuery:
    """The query in a JSON body. Raises InvalidInput, naming everything that is wrong."""
    issues = [
        Issue("filter_not_supported", name, "This filter is not answered here.", instead)
        for name, instead in _NOT_ANSWERED.items()
        if document.get(name)
    ]
    window = document.get("windowSize")
    if window is not None and window not in _WINDOWS:
        issues.append(
            Issue("unknown_window", "windowSize", f"It is {window!r}.", f"one of {', '.join(_WINDOWS)}.")
        )
    filters = document.get("filterGroupBy") or {}
    if not isinstance(filters, dict):
        issues.append(Issue("wrong_type", "filterGroupBy", "It is no object.", "names with lists of texts."))
        filters = {}
    query = MeterQuery(
        time_from=_instant(document, "from", issues),
        time_to=_instant(document, "to", issues),
        window=window,
        time_zone=str(document.get("windowTimeZone") or "UTC"),
        subjects=_texts(document, "subject", issues),
        group_by=_texts(document, "groupBy", issues),
        filters={name: _texts(filters, name, issues) for name in filters},
    )
    if len(query.subjects) > SUBJECTS_MAX:
        message = f"{len(query.subjects)} subjects are named."
        issues.append(Issue("too_many_subjects", "subject", message, f"at most {SUBJECTS_MAX}."))
    if issues:
        raise InvalidInput(
            "the query is not answered: " + " ".join(str(issue) for issue in issues),
            reason_code="invalid_query",
            issues=issues,
        )
    return query


def answer_query(store: EventStore, meter: Meter, query: MeterQuery) -> dict[str, Any]:
    """The answer in OpenMeter's shape; ``query_json`` and ``query_csv`` write it.

    ``unusable`` is ours: events that should count and cannot; while there are any, the values are not whole.
    Raises InvalidInput for an empty time or a question too large to answer at once.
    """
    asked = {"from": query.time_from, "to": query.time_to, "windowSize": query.window}
    answer: dict[str, Any] = {name: part for name, part in asked.items() if part is not None}
    properties = tuple(name for name in dict.fromkeys(query.group_by) if name != SUBJECT)
    changed = meter.model_copy(
        update={
            "group_by": properties,
            "filters": (
                *meter.filters,
                *(
                    MeterFilter(property=name, values=values)
                    for name, values in query.filters.items()
                    if values
                ),
            ),
        }
    )
    apart, subjects = SUBJECT in query.group_by, query.subjects or None
    with store.one_question(_asked(meter, query)):
        windows = _windows(store, changed, query)
        if windows is None:
            return answer | {"data": _nothing(meter, query, None), "unusable": []}
        found = query_usage_by_subject(
            store, meter=changed, edges=windows.edges, subjects=subjects, apart=apart
        )
    rows = [_row(row, found, windows, query, apart=apart) for row in rows_of(found.usage)]
    rows = rows or _nothing(meter, query, windows)
    return answer | {"data": rows, "unusable": _unusable(found.unusable)}


def _asked(meter: Meter, query: MeterQuery) -> AskedEvents:
    """The events an answer is about. An end that is not given is that of the events of all subjects."""
    whole = query.time_from is None or query.time_to is None
    return AskedEvents.counted([meter], None if whole else query.subjects or None)


def query_json(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with its values as exact JSON numbers."""
    rows = [{**row, "value": orjson.Fragment(decimal_text(Decimal(row["value"])))} for row in answer["data"]]
    return {**answer, "data": rows}


def query_csv(answer: Mapping[str, Any], query: MeterQuery) -> bytes:
    """The rows of an answer in OpenMeter's columns, values as exact decimals. Customers are not named here:
    those two columns are empty."""
    keys = [name for name in dict.fromkeys(query.group_by) if name != SUBJECT]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["window_start", "window_end", SUBJECT, "customer_name", "customer_email", *keys, "value"]
    )
    for row in answer["data"]:
        instants = [row[name].isoformat().replace("+00:00", "Z") for name in ("windowStart", "windowEnd")]
        groups = [row["groupBy"].get(name, "") for name in keys]
        value = decimal_text(Decimal(row["value"]))
        writer.writerow([*instants, row["subject"] or "", "", "", *groups, value])
    return text.getvalue().encode()


def _nothing(meter: Meter, query: MeterQuery, windows: Windows | None) -> list[dict[str, Any]]:
    """What no usage looks like: a count of a whole time is 0, everything else has no row."""
    counts = meter.aggregation in ("count", "unique_count")
    if not counts or query.window is not None or query.group_by:
        return []
    if windows is not None:
        bounds = windows.bounds[0]
    elif query.time_from is not None and query.time_to is not None:
        bounds = query.time_from, query.time_to
    else:
        return []
    return [_shaped(0, bounds, _single(query), {})]


def _windows(store: EventStore, meter: Meter, query: MeterQuery) -> Windows | None:
    """The windows asked for, None when no event can be in them. An end that is not given is that of the
    events there are; and windows are looked at only where there are events, as the others are not shown."""
    if query.time_from is not None and query.time_to is not None:
        _whole(query.time_from, query.time_to)
    span = time_span(store, event_type=meter.event_type, time_from=query.time_from)
    if span is None:
        return None
    start, end = query.time_from or span[0], query.time_to or span[1]
    if query.window is not None and meter.aggregation != "time_weighted":  # whose level goes on
        start, end = max(start, span[0]), min(end, span[1])
    start, end = max(start, TIME_MIN), min(end, TIME_MAX)
    if start >= end:
        return None
    if query.window is None:
        return _whole(start, end)
    return tumbling_windows(
        time_from=start, time_to=end, window=_WINDOWS[query.window], time_zone=query.time_zone
    )


def _whole(start: datetime, end: datetime) -> Windows:
    return tumbling_windows(time_from=start, time_to=end, window=None, time_zone="UTC")


def _row(
    row: Mapping[str, Any], found: UsageBySubject, windows: Windows, query: MeterQuery, *, apart: bool
) -> dict[str, Any]:
    key, subject = row["period_key"], _single(query)
    if apart:
        key, number = divmod(key, len(found.subjects))
        subject = found.subjects[number]
    return _shaped(row["quantity"], windows.bounds[key], subject, row["dimensions"])


def _single(query: MeterQuery) -> str | None:
    return query.subjects[0] if len(query.subjects) == 1 else None


def _shaped(
    value: Any, bounds: tuple[datetime, datetime], subject: str | None, dimensions: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "value": value,
        "windowStart": bounds[0],
        "windowEnd": bounds[1],
        "subject": subject,
        "groupBy": dimensions,
    }


def _unusable(table: pa.Table) -> list[dict[str, Any]]:
    return rows_of(table.drop_columns(["period_key", "meter_id"]))


def _printed_filter(text: str) -> dict[str, str]:
    """OpenMeter's Python client sends the filter as Python prints a dict."""
    try:
        found = ast.literal_eval(text) if len(text) <= _PRINTED_CHARACTERS_MAX else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(part, str) for pair in found.items() for part in pair
    ):
        raise InvalidInput(
            f"filterGroupBy {text[:80]!r} cannot be read. Write filterGroupBy[NAME]=VALUE.",
            reason_code="invalid_query",
        )
    return found


def _texts(document: Mapping[str, Any], name: str, issues: list[Issue]) -> tuple[str, ...]:
    found = document.get(name)
    found = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        issues.append(
            Issue("wrong_type", name, "It is no text or list of texts.", "texts that say something.")
        )
        return ()
    return tuple(dict.fromkeys(found))


def _instant(document: Mapping[str, Any], name: str, issues: list[Issue]) -> datetime | None:
    text = document.get(name)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        instant = None
    if instant is None or instant.tzinfo is None:
        expected = "an RFC 3339 time with zone, like 2026-11-01T00:00:00Z."
        issues.append(Issue("time_unreadable", name, f"It is {text!r}.", expected))
        return None
    return instant
