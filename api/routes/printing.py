"""Many invoices as PDF in one answer."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import Field

from api.routes.invoices import seller_logo
from api.routing import DocumentBody, State, declared
from api.state import Ratemill
from ingest.document import Document, read_document, validate_document
from invoicing.print_many import PrintJob
from invoicing.store import StoredInvoice, get_invoice
from invoicing.template_store import invoice_template

router = APIRouter()

ZIP: Final = "application/zip"
PRINTED_MAX: Final = 500
_SINCE: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the same invoices are the same bytes."""


class PrintRequest(Document):
    """invoices: their ids or printed numbers."""

    invoices: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        min_length=1, max_length=PRINTED_MAX
    )


@router.post(
    "/v1/invoices/pdf",
    **declared(
        "print_invoices",
        "read",
        summary="Many invoices as PDF, in a zip",
        tag="billing",
        problems=(400, 404, 409, 422),
        body={"application/json": {"invoices": ["INV-2013-000001"]}},
        media={ZIP: "PK ..."},
    ),
)
def print_invoices(state: State, body: DocumentBody) -> Response:
    """A file NUMBER.pdf for each of up to 500 invoices, in the order asked for; a draft is draft-ID.pdf. They
    are the bytes of `GET /v1/invoices/{id_or_number}/pdf`, printed by RATEMILL_PRINT_PROCESSES processes."""
    wanted = validate_document(PrintRequest, read_document(body), what="the list of invoices")
    found = [get_invoice(state.ledger, one) for one in dict.fromkeys(wanted.invoices)]
    printed = state.printing.printed([_job(state, one) for one in found])
    names = [_file_name(one) for one in found]
    headers = {"Content-Disposition": 'attachment; filename="invoices.zip"'}
    return Response(_zipped(names, printed), media_type=ZIP, headers=headers)


def _job(state: Ratemill, stored: StoredInvoice) -> PrintJob:
    template = invoice_template(state.ledger, stored.invoice, now=state.clock.now()).template
    return PrintJob(stored.text, template, seller_logo(state, stored.invoice.seller))


def _file_name(stored: StoredInvoice) -> str:
    name = stored.summary.number or f"draft-{stored.summary.invoice_id}"
    return f"{name.replace('/', '-')}.pdf"


def _zipped(names: Sequence[str], bodies: Sequence[bytes]) -> bytes:
    """Stored as they are: pages are compressed already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, body in zip(names, bodies, strict=True):
            archive.writestr(zipfile.ZipInfo(name, _SINCE), body)
    return file.getvalue()
