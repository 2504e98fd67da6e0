"""What the ledger keeps beside the text of an issued document, held to the text.

Lists, sums, due dates and credit notes are read from columns, not from texts; a column that says something
else than the text, which is chained, was changed after the document was issued.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, select, true

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.number import number_text
from invoicing.numbering import bill_kind
from invoicing.special_invoice_tables import DEDUCTED_DOCUMENTS, SPECIAL_INVOICES
from invoicing.tables import INVOICE_LINES, INVOICES, contract_of

LineFacts = dict[str, tuple[str, int, int | None]]
"""Of an invoice's lines, by line id: charge, net amount, and as priced where that includes tax."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where documents of a kind are kept: their table and its key. only: which rows of the table, where other
    kinds share it."""

    table: Table
    key: Column[Any]
    only: ColumnElement[bool] = field(default_factory=true)


KINDS: Final[Mapping[str, Kind]] = {
    "invoice": Kind(INVOICES, INVOICES.c.invoice_id),
    "credit_note": Kind(CREDIT_NOTES, CREDIT_NOTES.c.credit_note_id),
    **{
        kind: Kind(SPECIAL_INVOICES, SPECIAL_INVOICES.c.document_id, SPECIAL_INVOICES.c.kind == kind)
        for kind in ("deposit", "progress", "final", "miscellaneous")
    },
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the ledger keeps of a document beside the register: its row, the lines of an invoice (else None),
    and the ids of what a final invoice deducts."""

    row: Row[Any]
    lines: LineFacts | None = None
    deducts: frozenset[str] = frozenset()


def load_stored(connection: Connection, ids: Sequence[str]) -> dict[str, Stored]:
    """What is kept of documents, by document id. By id alone: a kind may be what was changed."""
    invoices = dict(_rows(connection, INVOICES, INVOICES.c.invoice_id, ids))
    lines = _lines(connection, list(invoices))
    found = {key: Stored(row, lines=lines[key]) for key, row in invoices.items()}
    left = [key for key in ids if key not in found]
    notes = _rows(connection, CREDIT_NOTES, CREDIT_NOTES.c.credit_note_id, left)
    found |= {key: Stored(row) for key, row in notes}
    left = [key for key in left if key not in found]
    deducts = _deducts(connection, left)
    specials = _rows(connection, SPECIAL_INVOICES, SPECIAL_INVOICES.c.document_id, left)
    return found | {key: Stored(row, deducts=frozenset(deducts[key])) for key, row in specials}


def differences(
    registered: Row[Any], stored: Stored, document: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """What register, table and lines say that the document does not: reason code and words of each."""
    facts = _register_facts(document)
    printed = number_text(series=registered.series, number=registered.number)
    kept = {name: getattr(registered, name) for name in facts} | {"number": printed}
    for words in _different("register", kept, facts):
        yield "register_differs", words
    for words in _different_record(stored, document, facts):
        yield "record_differs", words
    if stored.lines is not None:
        for words in _different_lines(stored.lines, document["lines"]):
            yield "lines_differ", words


def _register_facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of ``ISSUED_DOCUMENTS`` says of a document of this text."""
    groups = document["tax"] if isinstance(document["tax"], list) else []
    net, tax = document["total_minor"], sum(group["tax_minor"] for group in groups)
    corrected = document.get("invoice")
    nothing = {"total_minor": 0}
    if corrected is None:
        credit_minor = document.get("drawn_credit", nothing)["total_minor"]
    else:  # the text says what goes back, the columns by how much less is owed
        credit_minor = -document.get("returned_credit", nothing)["total_minor"]
    kind = document.get("kind") or (bill_kind(net + tax) if corrected is None else "credit_note")
    return {
        "number": document["number"],
        "kind": kind,
        "entity_id": (document["seller"] or {}).get("entity_id"),
        "customer_id": document["customer"]["customer_id"],
        "contract_id": document["contract"]["contract_id"],
        "currency": document["currency"],
        "issue_date": document["issue_date"],
        "due_date": document.get("due_date"),
        "net_minor": net,
        "tax_minor": tax,
        "credit_minor": credit_minor,
        "refers_to": None if corrected is None else corrected["invoice_id"],
    }


def _different_record(stored: Stored, document: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Every column of the document's own table that the text or the register's facts know."""
    row = stored.row._asdict()
    number = None if row["number"] is None else number_text(series=row["series"], number=row["number"])
    kept = {**row, "number": number}
    if stored.lines is not None:
        kept["contract_id"] = contract_of(row["contract_id"])
    wanted = {name: value for name, value in facts.items() if name in kept}
    wanted |= {name: document[name] for name in _OF_TEXT if name in kept and name in document}
    if "invoice_id" in kept and facts["refers_to"] is not None:
        wanted["invoice_id"] = facts["refers_to"]
    if "state" in kept:
        wanted["state"] = "issued"
    yield from _different("list of such documents", kept, wanted)
    deducts = {entry["document_id"] for entry in document.get("deducts", ())}
    if stored.deducts != deducts:
        yield f"the ledger says that it deducts {sorted(stored.deducts)}, the document {sorted(deducts)}."


_OF_TEXT: Final = ("billing_date", "total_minor", "voids", "reason", "project")
"""Columns that have the name they have in the text."""


def _different(where: str, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if kept[name] != value:
            yield f"the {where} has {name} {kept[name]}, the document {value}."


def _different_lines(kept: LineFacts, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    said: LineFacts = {
        line["line_id"]: (
            line["charge_id"],
            line["amount_minor"],
            (line.get("tax") or {}).get("inclusive_minor"),
        )
        for line in lines
    }
    for line_id in [line_id for line_id in {**said, **kept} if kept.get(line_id) != said.get(line_id)][:1]:
        yield (
            f"of line {line_id} the ledger's own list has {_words(kept.get(line_id))}, the document "
            f"{_words(said.get(line_id))}."
        )


def _words(line: tuple[str, int, int | None] | None) -> str:
    if line is None:
        return "nothing"
    charge_id, amount_minor, priced_minor = line
    priced = "" if priced_minor is None else f", priced {priced_minor} with tax"
    return f"{amount_minor} minor units of {charge_id}{priced}"


def _rows(
    connection: Connection, table: Table, key: Column[Any], ids: Sequence[str]
) -> Iterator[tuple[str, Row[Any]]]:
    for row in select_by_ids(connection, select(table), key, ids):
        yield getattr(row, key.name), row


def _lines(connection: Connection, ids: Sequence[str]) -> Mapping[str, LineFacts]:
    columns = INVOICE_LINES.c
    wanted = (
        columns.invoice_id,
        columns.line_id,
        columns.charge_id,
        columns.amount_minor,
        columns.priced_minor,
    )
    found: dict[str, LineFacts] = defaultdict(dict)
    for invoice_id, line_id, *facts in select_by_ids(connection, select(*wanted), columns.invoice_id, ids):
        found[invoice_id][line_id] = tuple(facts)
    return found


def _deducts(connection: Connection, ids: Sequence[str]) -> Mapping[str, set[str]]:
    columns = DEDUCTED_DOCUMENTS.c
    wanted = select(columns.final_id, columns.document_id)
    found: dict[str, set[str]] = defaultdict(set)
    for final_id, document_id in select_by_ids(connection, wanted, columns.final_id, ids):
        found[final_id].add(document_id)
    return found
