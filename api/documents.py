"""What the routes of meters, plans, customers and contracts share: a document under its key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query

from api.json import ExactJSON
from ingest.document import read_document
from ingest.errors import InvalidDocument, Issue
from rating.plan_version import SavedDocument

DeletionReason = Annotated[str, Query(alias="reason", description="Why; it stays in the audit trail.")]


def keyed_document(body: bytes, *, field: str, key: str, what: str) -> dict[str, Any]:
    """The one document in ``body``, under ``key`` of the path, which it may leave out.

    Raises UnreadableBody, or InvalidDocument when it names another key than the path.
    """
    document = read_document(body)
    named = document.setdefault(field, key)
    if named != key:
        issue = Issue(
            "key_differs",
            field,
            f"The document says {named!r} and the path {key!r}.",
            "the same key in both, or none in the document.",
        )
        raise InvalidDocument(f"{what} {key!r}", [issue])
    return document


def saved_answer(field: str, saved: SavedDocument) -> ExactJSON:
    """201 for a new version, 200 when the same document was on record already. ``warnings`` is there when
    there are any."""
    answer: dict[str, Any] = {field: saved.key, "version": saved.version, "created": saved.created}
    if saved.warnings:
        answer["warnings"] = [warning.to_dict() for warning in saved.warnings]
    return ExactJSON(answer, status_code=201 if saved.created else 200)
