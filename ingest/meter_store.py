"""Meters on record, in the ledger. A meter is never changed once saved: bills were counted by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Engine, String, Table, Text, select

from ingest.document import canonical_json, document_hash
from ingest.errors import Conflict, NotFound
from ingest.ledger import LEDGER, ledger_transaction, reading
from ingest.meter import Meter

METERS: Final = Table(
    "meters",
    LEDGER,
    Column("meter_id", String(128), primary_key=True),
    Column("document", Text, nullable=False),
    Column("document_hash", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
)


def save_meter(
    engine: Engine,
    document: Meter,
    *,
    now: datetime,
    entered: Callable[[Connection], None] | None = None,
) -> bool:
    """Put a meter on record; True when it is new, False when the same document was there already. entered:
    called inside the transaction when it is new.

    Raises Conflict when another document has its ``meter_id``.
    """
    digest = document_hash(document)
    with ledger_transaction(engine) as connection:
        known = connection.execute(
            select(METERS.c.document_hash).where(METERS.c.meter_id == document.meter_id)
        ).scalar_one_or_none()
        if known == digest:
            return False
        if known is not None:
            raise Conflict(
                f"meter {document.meter_id!r} is on record with another definition, and usage may have "
                "been billed by it. Save the new definition under a new meter_id and let the next "
                "version of the price plan use it.",
                reason_code="meter_differs",
            )
        connection.execute(
            METERS.insert().values(
                meter_id=document.meter_id,
                document=canonical_json(document),
                document_hash=digest,
                created_at=now.isoformat(),
            )
        )
        if entered is not None:
            entered(connection)
    return True


def get_meter(engine: Engine, meter_id: str) -> Meter:
    """The meter of that id. Raises NotFound."""
    with engine.connect() as connection:
        text = connection.execute(
            select(METERS.c.document).where(METERS.c.meter_id == meter_id)
        ).scalar_one_or_none()
    if text is None:
        raise NotFound(f"there is no meter {meter_id!r}; `ratemill meter list` shows those there are.")
    return Meter.model_validate_json(text)


def list_meters(ledger: Engine | Connection) -> tuple[Meter, ...]:
    """All meters, by id."""
    with reading(ledger) as connection:
        texts = connection.execute(select(METERS.c.document).order_by(METERS.c.meter_id)).scalars().all()
    return tuple(Meter.model_validate_json(text) for text in texts)


def list_saved_meters(engine: Engine) -> tuple[tuple[Meter, datetime], ...]:
    """All meters with the instant each was saved, by id."""
    query = select(METERS.c.document, METERS.c.created_at).order_by(METERS.c.meter_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return tuple(
        (Meter.model_validate_json(row.document), datetime.fromisoformat(row.created_at)) for row in rows
    )
