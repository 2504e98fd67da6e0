"""Archives: events moved to Parquet files, and put back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.routes.event_lists import instant
from api.routing import Actor, DocumentBody, State, declared
from api.state import Ratemill
from api.trail import ARCHIVE, enter_changes
from ingest.archive import restore_events
from ingest.archives import StoredArchive, list_archives
from ingest.document import Document, read_document, validate_document
from ingest.errors import InvalidInput
from invoicing.archive_events import archive_before

router = APIRouter()

_ARCHIVE: Final[dict[str, Any]] = {
    "archive_id": "0193a1c2f0d87c1e0193a1c2f0d87c1e",
    "step": 2,
    "state": "removed",
    "folder": "/srv/archive/2013-01",
    "time_before": "2013-02-01T05:00:00Z",
    "types": ["landing"],
    "event_count": 27004,
    "manifest_hash": "8d1c4a6f2b0e7f7d9c5b3a1908f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5",
    "made_at": "2026-11-23T09:00:00Z",
}


class Archiving(Document):
    """What is archived, and where on the machine of the server."""

    time_before: datetime
    folder: str


class Restoring(Document):
    """The folder of an archive, on the machine of the server."""

    folder: str


@router.post(
    "/v1/archives",
    **declared(
        "archive_events",
        "admin",
        summary="Move old events to files",
        tag="events",
        example=_ARCHIVE,
        problems=(400, 409, 422, 503),
        body={"application/json": {"time_before": "2013-02-01T05:00:00Z", "folder": "/srv/archive/2013-01"}},
    ),
)
async def make_archive(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """All events before that instant, but those of licences, go to Parquet files in a folder of the server's
    machine, are read back and compared, and only then leave the store. They stay known: a resend is a
    duplicate. Refused while any of them is not billed. Usage that was added up stays; other questions
    about that time answer 409 `time_is_archived`."""
    asked = validate_document(Archiving, read_document(body), what="archive")
    before = instant(asked.time_before, "time_before")
    made = await state.in_thread(_archive, state, _folder(asked.folder), before or asked.time_before)
    await state.in_thread(_enter, state, actor, "archived", made)
    return ExactJSON(asdict(made))


@router.post(
    "/v1/archives/restore",
    **declared(
        "restore_events",
        "admin",
        summary="Put archived events back",
        tag="events",
        example={**_ARCHIVE, "step": 4, "state": "restored"},
        problems=(400, 404, 409, 422, 503),
        body={"application/json": {"folder": "/srv/archive/2013-01"}},
    ),
)
async def restore(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The same rows as before, after every file was found as it was written."""
    asked = validate_document(Restoring, read_document(body), what="restoring")
    made = await state.in_thread(
        restore_events,
        _folder(asked.folder),
        now=state.clock.now(),
        ingest=state.ingest,
        progress=lambda *_step: None,
    )
    await state.in_thread(_enter, state, actor, "restored", made)
    return ExactJSON(asdict(made))


@router.get(
    "/v1/archives",
    **declared("list_archives", "read", summary="Archives made", tag="events", example={"items": [_ARCHIVE]}),
)
def list_all(state: State) -> ExactJSON:
    """Latest first, with where their files are; those that were put back too."""
    return ExactJSON({"items": [asdict(one) for one in list_archives(state.event_store)]})


def _archive(state: Ratemill, folder: Path, before: datetime) -> StoredArchive:
    return archive_before(
        folder,
        time_before=before,
        now=state.clock.now(),
        ledger=state.ledger,
        stored=state.stored_usage,
        ingest=state.ingest,
        progress=lambda *_step: None,
    )


def _enter(state: Ratemill, actor: str, action: str, made: StoredArchive) -> None:
    after = {"folder": made.folder, "events": made.event_count}
    enter_changes(state, actor=actor, action=action, kind=ARCHIVE, object_ids=[made.archive_id], after=after)


def _folder(text: str) -> Path:
    folder = Path(text)
    if not folder.is_absolute():
        raise InvalidInput(
            f"{text!r} is not a whole path; name a folder of the server's machine from its root on.",
            reason_code="folder_not_absolute",
        )
    return folder
