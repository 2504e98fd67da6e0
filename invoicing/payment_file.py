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
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Engine

from ingest.errors import InvalidDocument, InvalidInput, Issue, RatemillError, UnreadableBody
from invoicing.payment_store import record_payment

FIELDS: Final = ("amount", "currency", "value_date", "customer_id", "reference", "text", "bank_reference")
_NEEDED: Final = ("amount", "currency", "value_date")
DELIMITERS: Final = (",", ";", "\t")


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
    for number, row in _rows(content, terms):
        key = tuple(row.get(name, "") for name in FIELDS)
        seen[key] += 1
        duplicate_key = hashlib.sha256("\n".join((*key, str(seen[key]))).encode()).hexdigest()
        try:
            document = _document(row, terms)
            payment_id, is_new = record_payment(
                ledger, document, actor=actor, now=now, source="csv", duplicate_key=duplicate_key
            )
        except InvalidDocument as error:
            issues += [(number, issue) for issue in error.issues]
        except RatemillError as error:
            issues.append((number, Issue(error.reason_code, "", str(error), "a row that can be recorded.")))
        else:
            recorded += [payment_id] if is_new else []
            duplicates += not is_new
    return FileReport(tuple(recorded), duplicates, tuple(issues))


def _rows(content: bytes, terms: FileTerms) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and our fields of each row."""
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
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=terms.delimiter)
    names = {name: terms.columns.get(name, name) for name in FIELDS}
    there = set(reader.fieldnames or ())
    needed = [name for name in _NEEDED if name != "currency" or not terms.currency]
    missing = {names[name]: None for name in (*needed, *terms.columns) if names[name] not in there}
    if missing:
        raise InvalidInput(
            f"the file has the columns {', '.join(sorted(there)) or '(none)'} and not {', '.join(missing)}. "
            "Say which column is which, like amount=Betrag.",
            reason_code="bad_mapping",
        )
    for row in reader:
        found = {name: (row.get(column) or "").strip() for name, column in names.items()}
        if any(found.values()):
            yield reader.line_num, {**found, "currency": found["currency"] or terms.currency or ""}


def _document(row: Mapping[str, str], terms: FileTerms) -> dict[str, Any]:
    """A payment document. Raises InvalidDocument for a date that is none."""
    amount = row["amount"].replace(" ", "").replace("'", "")
    amount = amount.replace(".", "").replace(",", ".") if terms.decimal_comma else amount.replace(",", "")
    try:
        value_date: date = datetime.strptime(row["value_date"], terms.date_format).date()  # noqa: DTZ007
    except ValueError:
        wrong = Issue(
            "bad_date",
            "value_date",
            f"{row['value_date']!r} is no date like {terms.date_format}.",
            "a date in the format that was given.",
        )
        raise InvalidDocument("the payment", [wrong]) from None
    optional = {"customer_id": row["customer_id"]} if row["customer_id"] else {}
    return {
        **optional,
        "amount": amount,
        "currency": row["currency"],
        "value_date": value_date,
        **{name: row[name] for name in ("reference", "text", "bank_reference")},
    }
