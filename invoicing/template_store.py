"""Templates in the ledger, in every version, and which of them prints what.

A choice is made for a contract, a customer, a billing entity or all documents; the first that has one
counts. An issued document is printed by the template that was chosen, in the version in force, when it was
issued: later choices and versions never change it, and nothing needs to be kept with it. A draft is
printed as it would be now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, delete, select

from ingest.document import Document
from ingest.meter import Key
from invoicing.invoice import Invoice
from invoicing.saved_document import DocumentKind, StoredDocument
from invoicing.tables import ISSUED_DOCUMENTS, SAVED_DOCUMENTS
from invoicing.template import PLAIN, DocumentTemplate, template_rules
from rating.plan_version import Entered, SavedDocument

UsedFor = Literal["contract", "customer", "entity", "all"]
ALL: Final = "all"
"""The key of the choice for all documents."""

TEMPLATES: Final = DocumentKind(
    name="template",
    model=DocumentTemplate,
    field="template_id",
    words="template",
    rules=template_rules,
    missing="`ratemill template list` shows those there are.",
)


class TemplateChoice(Document):
    """Which template is used for a contract, customer or entity (``key``), or for all. template_id: empty
    for none of its own any more."""

    key: Key
    template_id: str = ""


@dataclass(frozen=True, slots=True)
class ChosenTemplate:
    """A template with its version, 0 for the plain one, and what it was chosen for; empty for nothing."""

    template: DocumentTemplate
    version: int
    used_for: str


def save_template(
    ledger: Engine, document: dict[str, object], *, now: datetime, entered: Entered | None = None
) -> SavedDocument:
    """Check and save a template; another one under the key is a new version. entered: called inside the
    transaction with what was saved. Raises InvalidDocument."""
    return TEMPLATES.save(ledger, document, now=now.astimezone(UTC), entered=entered)


def choose_template(
    ledger: Engine,
    *,
    used_for: UsedFor,
    key: str,
    template_id: str,
    now: datetime,
    entered: Entered | None = None,
) -> SavedDocument:
    """Use a template from ``now`` on; an empty ``template_id`` ends the choice. Raises NotFound for one that
    is not on record."""
    if template_id:
        TEMPLATES.get(ledger, template_id)
    document = {"key": ALL if used_for == "all" else key, "template_id": template_id}
    return _choices(used_for).save(ledger, document, now=now.astimezone(UTC), entered=entered)


def forget_choice(connection: Connection, used_for: UsedFor, key: str) -> str:
    """Take away what was chosen for a record that is deleted, nothing of which was ever printed, so that
    another under its key does not inherit it. Gives the template that was chosen last; empty for none."""
    kind, table = _choices(used_for), SAVED_DOCUMENTS
    chosen = kind.find(connection, [key]).get(key)
    connection.execute(delete(table).where(table.c.kind == kind.name, table.c.key == key))
    return "" if chosen is None else chosen.template_id


def load_templates(ledger: Engine) -> list[StoredDocument[DocumentTemplate]]:
    """All in force, by key."""
    with ledger.connect() as connection:
        return list(TEMPLATES.load(connection).values())


def invoice_template(ledger: Engine, invoice: Invoice, *, now: datetime) -> ChosenTemplate:
    """What prints this invoice: see the module."""
    parties = {"contract": invoice.contract, "customer": invoice.customer, "seller": invoice.seller}
    return _template_of(ledger, invoice.invoice_id, parties, now)


def credit_note_template(ledger: Engine, note: Mapping[str, Any], *, now: datetime) -> ChosenTemplate:
    """What prints this credit note, by its canonical document."""
    return _template_of(ledger, note["credit_note_id"], note, now)


def _template_of(
    ledger: Engine, document_id: str, parties: Mapping[str, Any], now: datetime
) -> ChosenTemplate:
    with ledger.connect() as connection:
        issued_at = connection.execute(
            select(ISSUED_DOCUMENTS.c.issued_at).where(ISSUED_DOCUMENTS.c.document_id == document_id)
        ).scalar_one_or_none()
        moment = issued_at or now.astimezone(UTC).isoformat()
        for used_for, key in _keys_of(parties):
            text = _as_of(connection, _choices(used_for).name, key, moment)
            chosen = "" if text is None else TemplateChoice.model_validate_json(text[0]).template_id
            found = _as_of(connection, TEMPLATES.name, chosen, moment) if chosen else None
            if found is not None:
                return ChosenTemplate(DocumentTemplate.model_validate_json(found[0]), found[1], used_for)
    return ChosenTemplate(PLAIN, 0, "")


def _keys_of(parties: Mapping[str, Any]) -> Iterator[tuple[UsedFor, str]]:
    yield "contract", str(parties["contract"]["contract_id"])
    yield "customer", str(parties["customer"]["customer_id"])
    entity_id = (parties["seller"] or {}).get("entity_id")
    if entity_id:
        yield "entity", entity_id
    yield "all", ALL


def _choices(used_for: UsedFor) -> DocumentKind[TemplateChoice]:
    return DocumentKind(
        name=f"template_of_{used_for}",
        model=TemplateChoice,
        field="key",
        words=f"template of {used_for}",
        rules=lambda _: (),
        missing="`ratemill template use` chooses one.",
    )


def _as_of(connection: Connection, kind: str, key: str, moment: str) -> tuple[str, int] | None:
    """Text and version in force at a moment (ISO 8601 in UTC, which sorts as it reads)."""
    table = SAVED_DOCUMENTS
    query = select(table.c.document, table.c.version).where(
        table.c.kind == kind, table.c.key == key, table.c.created_at <= moment
    )
    row = connection.execute(query.order_by(table.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else (str(row[0]), int(row[1]))
