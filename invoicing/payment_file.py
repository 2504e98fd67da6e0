"""Payments out of a CSV file, whatever its columns are called: each row recorded once, bad rows told by
line.

A row is known by its content and by how many equal rows stand before it in its file. So the same file
again, or another export that covers the same days, records nothing twice, and two equal payments of one
file are two.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Engine

from ingest.errors import InvalidDocument, InvalidInput, Issue, RatemillError, UnreadableBody
from invoicing.payment_store import record_payment

FIELDS: Final = ("amount", "currency", "value_date", "customer_id", "reference", "text", "bank_reference")
_NEEDED: Final = ("amount", "currency", "value_date")
DELIMITERS: Final = (",", ";", "\t")
_AMOUNT: Final = (
    r"(?P<sign>[+-]?)(?P<whole>[0-9]+|[0-9]{{1,3}}(?:(?P<mark>[{group}'\u2019 \u00a0\u202f])[0-9]{{2,3}}"
    r"(?:(?P=mark)[0-9]{{2,3}})*(?<=[0-9]{{3}}))?)(?:{point}(?P<part>[0-9]*))?"
)
"""Digits, or groups of them with one mark throughout: of two too, as in India, the last of three."""


@dataclass(frozen=True, slots=True)
class _Row:
    """line: where it ends in the file. fields: of each of FIELDS what the file says, "" for nothing. cells,
    columns: how many it has, and the header."""

    line: int
    fields: Mapping[str, str]
    cells: int
    columns: int


@dataclass(frozen=True, slots=True)
class FileTerms:
    """How a file is read. columns: our field -> the name of its column; a field that is left out has its own
    name, or is not there. currency: of every row, where the file has no column for it. date_format: as
    ``strptime`` has it. decimal_comma: 1.234,56 rather than 1,234.56."""

    columns: Mapping[str, str]
    currency: str | None = None
    delimiter: str = ","
    date_format: str = "%Y-%m-%d"
    decimal_comma: bool = False


@dataclass(frozen=True, slots=True)
class FileReport:
    """recorded: ids of new payments. duplicates: rows that were recorded before. issues: rows that were not
    recorded, as (line number, what is wrong); money that went out is among them."""

    recorded: tuple[str, ...]
    duplicates: int
    issues: tuple[tuple[int, Issue], ...]


def import_payments(
    ledger: Engine, content: bytes, *, terms: FileTerms, actor: str, now: datetime
) -> FileReport:
    """Record the payments of a file, a transaction each: a file that was interrupted is sent again.

    Raises UnreadableBody for what is no CSV in UTF-8, InvalidInput for a mapping that does not fit it.
    """
    recorded, issues, duplicates = list[str](), list[tuple[int, Issue]](), 0
    seen: Counter[tuple[str, ...]] = Counter()
    for row in _rows(content, terms):
        key = tuple(row.fields[name] for name in FIELDS)
        seen[key] += 1
        duplicate_key = hashlib.sha256("\n".join((*key, str(seen[key]))).encode()).hexdigest()
        try:
            document = _document(row, terms)
            payment_id, is_new = record_payment(
                ledger, document, actor=actor, now=now, source="csv", duplicate_key=duplicate_key
            )
        except InvalidDocument as error:
            issues += [(row.line, issue) for issue in error.issues]
        except RatemillError as error:
            issues.append((row.line, Issue(error.reason_code, "", str(error), "a row that can be recorded.")))
        else:
            recorded += [payment_id] if is_new else []
            duplicates += not is_new
    return FileReport(tuple(recorded), duplicates, tuple(issues))


def _rows(content: bytes, terms: FileTerms) -> Iterator[_Row]:
    unknown = sorted(set(terms.columns) - set(FIELDS))
    if unknown or terms.delimiter not in DELIMITERS:
        raise InvalidInput(
            f"the mapping names {unknown or terms.delimiter!r}; a payment has {', '.join(FIELDS)}, "
            "and columns are parted by a comma, a semicolon or a tab.",
            reason_code="bad_mapping",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the file is not in UTF-8: {error}. Save it as UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=terms.delimiter)
    header = next(reader, [])
    places = _places(header, terms)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            found = {name: cells[place].strip() for name, place in places.items() if place < len(cells)}
            fields = {**dict.fromkeys(FIELDS, ""), **found}
            fields["currency"] = fields["currency"] or terms.currency or ""
            yield _Row(reader.line_num, fields, len(cells), len(header))


def _places(header: Sequence[str], terms: FileTerms) -> dict[str, int]:
    """Our field -> the place of its column, for the fields that have one."""
    names = {name: terms.columns.get(name, name) for name in FIELDS}
    needed = [name for name in _NEEDED if name != "currency" or not terms.currency]
    missing = {names[name]: None for name in (*needed, *terms.columns) if names[name] not in header}
    if missing:
        raise InvalidInput(
            f"the file has the columns {', '.join(sorted(header)) or '(none)'} and not {', '.join(missing)}. "
            "Say which column is which, like amount=Betrag.",
            reason_code="bad_mapping",
        )
    twice = sorted({column for column in names.values() if header.count(column) > 1})
    if twice:
        raise InvalidInput(
            f"the file has two columns called {' and '.join(twice)}, and which counts cannot be told. "
            "Rename one.",
            reason_code="bad_mapping",
        )
    return {name: header.index(column) for name, column in names.items() if column in header}


def _document(row: _Row, terms: FileTerms) -> dict[str, Any]:
    """A payment document. Raises InvalidDocument for a row that cannot be read for certain."""
    issues = list(_row_issues(row, terms))
    if issues:
        raise InvalidDocument("the payment", issues)
    fields = row.fields
    optional = {"customer_id": fields["customer_id"]} if fields["customer_id"] else {}
    return {
        **optional,
        "amount": _plain_amount(fields["amount"], terms),
        "currency": fields["currency"],
        "value_date": _day(fields["value_date"], terms),
        **{name: fields[name] for name in ("reference", "text", "bank_reference")},
    }


def _row_issues(row: _Row, terms: FileTerms) -> Iterator[Issue]:
    if row.cells != row.columns:
        yield Issue(
            "bad_row",
            "",
            f"the row has {row.cells} cells and the header {row.columns}.",
            "as many; a cell that holds the delimiter stands in quotes.",
        )
        return
    if _plain_amount(row.fields["amount"], terms) is None:
        comma = "a decimal comma" if terms.decimal_comma else "a decimal point"
        yield Issue(
            "bad_amount",
            "amount",
            f"{row.fields['amount']!r} is no amount with {comma}.",
            f"an amount like {'1.234,56' if terms.decimal_comma else '1,234.56'}, or say that the file has "
            f"decimal {'points' if terms.decimal_comma else 'commas'}.",
        )
    if _day(row.fields["value_date"], terms) is None:
        yield Issue(
            "bad_date",
            "value_date",
            f"{row.fields['value_date']!r} is no date like {terms.date_format}.",
            "a date in the format that was given.",
        )


def _plain_amount(written: str, terms: FileTerms) -> str | None:
    """``1.234,56`` as ``1234.56``; None where the marks do not stand where they must, so that 12.50 in a file
    with commas is never 1250.

    >>> _plain_amount("1'234.56", FileTerms({})), _plain_amount("12,50", FileTerms({}))
    ('1234.56', None)
    """
    group, point = (".", ",") if terms.decimal_comma else (",", ".")
    match = re.fullmatch(_AMOUNT.format(group=re.escape(group), point=re.escape(point)), written)
    if match is None:
        return None
    whole = re.sub(r"[^0-9]", "", match["whole"])
    return f"{match['sign'].replace('+', '')}{whole}.{match['part'] or '0'}"


def _day(written: str, terms: FileTerms) -> date | None:
    try:
        return datetime.strptime(written, terms.date_format).date()  # noqa: DTZ007
    except ValueError:
        return None
