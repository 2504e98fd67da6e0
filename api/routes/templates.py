"""Templates: how documents look, and which of them prints what."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from api.documents import keyed_document, saved_answer
from api.examples import SAVED_VERSION
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from invoicing.audit_saved import entered_by
from invoicing.sample_invoice import sample_invoice
from invoicing.saved_document import StoredDocument
from invoicing.store import get_invoice
from invoicing.template import DocumentTemplate, template_rules
from invoicing.template_store import (
    TEMPLATES,
    UsedFor,
    choose_template,
    invoice_template,
    load_templates,
    save_template,
)

router = APIRouter()

TEMPLATE: Final[dict[str, Any]] = {
    "template_id": "northwind",
    "name": "Northwind",
    "accent": "#0a7d5a",
    "shown": {"tiers": False},
    "texts": {"en": {"payment_terms": "Please pay by {due_date}, quoting {number}."}},
}
_STORED: Final = {"template_id": "northwind", "version": 1, "document": TEMPLATE}
_CHOICE: Final = {"used_for": "customer", "key": "united", "template_id": "northwind"}


class _Choice(Document):
    used_for: UsedFor
    key: str = "all"
    template_id: str = ""


@router.put(
    "/v1/templates/{template_id}",
    **declared(
        "put_template",
        "admin",
        summary="Save a template",
        tag="billing",
        status=201,
        example={"template_id": "northwind", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": TEMPLATE},
    ),
)
def put_template(state: State, template_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. Invoices issued before keep their look."""
    document = keyed_document(body, field="template_id", key=template_id, what="template")
    now = state.clock.now()
    entered = entered_by(actor, "template", now=now)
    return saved_answer("template_id", save_template(state.ledger, document, now=now, entered=entered))


@router.get(
    "/v1/templates",
    **declared(
        "list_templates", "read", summary="All templates", tag="billing", example={"items": [_STORED]}
    ),
)
def list_all(state: State) -> ExactJSON:
    """Those in force, by id."""
    return ExactJSON({"items": [_shown(entry) for entry in load_templates(state.ledger)]})


@router.get(
    "/v1/templates/{template_id}",
    **declared(
        "get_template", "read", summary="One template", tag="billing", example=_STORED, problems=(404,)
    ),
)
def get_one(state: State, template_id: str) -> ExactJSON:
    """The version in force."""
    return ExactJSON(_shown(TEMPLATES.get(state.ledger, template_id)))


@router.post(
    "/v1/templates/use",
    **declared(
        "use_template",
        "admin",
        summary="Choose what a template is used for",
        tag="billing",
        example=_CHOICE,
        problems=(400, 404, 422),
        body={"application/json": _CHOICE},
    ),
)
def use(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """For a contract, a customer, an entity or all; the first of these that has a choice counts. It holds for
    invoices issued from now on. An empty `template_id` ends the choice."""
    choice = validate_document(_Choice, read_document(body), what="choice of a template")
    now = state.clock.now()
    choose_template(
        state.ledger,
        used_for=choice.used_for,
        key=choice.key,
        template_id=choice.template_id,
        now=now,
        entered=entered_by(actor, "template_choice", now=now),
    )
    return ExactJSON(choice.model_dump())


@router.post(
    "/v1/templates/preview",
    **declared(
        "preview_template",
        "read",
        summary="A template on a sample invoice",
        tag="billing",
        problems=(400, 422),
        body={"application/json": TEMPLATE},
        media={"application/pdf": "%PDF-1.7 ..."},
    ),
)
def preview(state: State, body: DocumentBody) -> Response:
    """The template in the body on made-up data, as PDF. Nothing is saved."""
    document = read_document(body)
    template = validate_document(DocumentTemplate, document, what="template", rules=template_rules)
    return Response(state.printer.pdf(sample_invoice(), template), media_type="application/pdf")


@router.get(
    "/v1/invoices/{id_or_number}/template",
    **declared(
        "get_invoice_template",
        "read",
        summary="Which template prints an invoice",
        tag="billing",
        example={"template_id": "northwind", "version": 1, "used_for": "customer"},
        problems=(404,),
    ),
)
def of_invoice(state: State, id_or_number: str) -> ExactJSON:
    """Of an issued invoice the one it was issued with; `plain` with version 0 where none was chosen."""
    invoice = get_invoice(state.ledger, id_or_number).invoice
    found = invoice_template(state.ledger, invoice, now=state.clock.now())
    return ExactJSON(
        {
            "template_id": found.template.template_id,
            "version": found.version,
            "used_for": found.used_for,
        }
    )


def _shown(stored: StoredDocument[DocumentTemplate]) -> dict[str, Any]:
    return {
        "template_id": stored.document.template_id,
        "version": stored.version,
        "document": stored.document,
    }
