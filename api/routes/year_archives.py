"""Archives of a year for tax offices and courts, and how long records have to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.audit_trail import record_change
from invoicing.retention import ARCHIVED, YEAR_ARCHIVE, archive_key, retained_years
from invoicing.year_archive import YearArchive, check_year, write_archive

router = APIRouter()

ZIP: Final = "application/zip"
_YEAR: Final[dict[str, Any]] = {
    "entity_id": "northwind",
    "year": 2013,
    "documents": 1,
    "retention_years": 10,
    "kept_until": "2023-12-31",
    "rule": "no rule on record: ten years",
    "archived_at": None,
}


class YearWanted(Document):
    """entity_id: only documents of this billing entity; left out: of all."""

    year: int
    entity_id: Key | None = None
    reason: str = Field(default="", max_length=1024)


@router.post(
    "/v1/year-archives",
    **declared(
        "archive_year",
        "admin",
        summary="The archive of a year, as a ZIP",
        tag="audit",
        problems=(400, 404, 422),
        body={"application/json": {"year": 2013, "reason": "tax audit"}},
        media={ZIP: "PK..."},
    ),
)
def make_archive(state: State, body: DocumentBody, actor: Actor) -> Response:
    """Every document issued in the year as canonical text, PDF (as it was sent, if it was) and e-invoice, the
    register, journal and audit trail of the year, a manifest and `SHA256SUMS`. Nothing is taken away. When
    the last byte is made, the audit trail says who made it, why, and the hash of `SHA256SUMS`."""
    asked = validate_document(YearWanted, read_document(body), what="the archive")
    archive = YearArchive(asked.year, asked.entity_id, state.delivery.shelf)
    check_year(state.ledger, archive)

    def written(manifest: Mapping[str, Any]) -> None:
        with ledger_transaction(state.ledger) as connection:
            record_change(
                connection,
                actor=actor,
                action=ARCHIVED,
                object_kind=YEAR_ARCHIVE,
                object_id=archive_key(asked.year, asked.entity_id),
                before=None,
                after={"documents": manifest["documents"], "sums_hash": manifest["sums_hash"]},
                reason=asked.reason,
                now=state.clock.now(),
            )

    name = archive_key(asked.year, asked.entity_id).replace("/", "-")
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(
        write_archive(state.ledger, archive, written=written), media_type=ZIP, headers=headers
    )


@router.get(
    "/v1/retention",
    **declared(
        "list_retention",
        "read",
        summary="How long the documents of each year have to be kept",
        tag="audit",
        example={"items": [_YEAR]},
    ),
)
def retention(state: State) -> ExactJSON:
    """By billing entity and year of issue: how many documents, until when, by which rule, and when an archive
    was last made. Nothing of them can be deleted, before that day or after it."""
    return ExactJSON({"items": [one.to_dict() for one in retained_years(state.ledger)]})
