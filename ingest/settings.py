"""The limits of this room, in one frozen value. Only ``api/settings.py`` reads the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GateKind = Literal["memory", "bounded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Limits on what one request or file slice may hold; each default says why it is what it is.

    body_bytes_max: bytes of a request body after decompression.
    batch_records_max: records of a request; so a request is one insert and all or nothing.
    corrections_max: corrections of a request; they are judged one by one while other batches wait.
    backfill_rows_max: events that a backfill may replace, and bring, together: they come into force in one
        block.
    replays_max: refused records of one request to repair; no more than ``refusals_reported_max``.
    insert_rows_max: rows of one insert. ClickHouse keeps up to about a million rows in one block,
        and only one block is atomic.
    file_slice_records: records of a file taken at a time; bounds the memory of a large file.
    file_slice_bytes: bytes of a text file taken at a time, for the same reason.
    record_bytes_max: bytes of one JSON or CSV record; longer records are refused.
    expansion_ratio_max: how many times larger than sent a body may become when decompressed, once
        it has passed ``expansion_free_bytes``. Real usage events reach 30 to 60.
    small_body_bytes_max: bytes of a JSON or NDJSON body up to which it is decoded together with others
        that wait. Decoding one event alone costs as much as decoding a hundred at once.
    joined_bytes_max: bytes of small bodies decoded together.
    queue_bytes_max: bytes of all bodies that are being received or wait for their answer; and the bytes
        that those decoded and not yet on disk may take before no more are decoded.
    queue_rows_max: records decoded and not yet on disk, beyond which no more are decoded: one insert.
    refusals_reported_max: refused records listed in a report; all of them are in the store.
    gate: where identities are kept: all in memory, or in a table of the store with a filter in memory.
    identities_waiting_max: identities that the bounded gate keeps in memory before it moves them into its
        table: one block of the engine.
    """

    body_bytes_max: int = 256 * 1024 * 1024
    batch_records_max: int = 100_000
    corrections_max: int = 20_000
    backfill_rows_max: int = 200_000
    replays_max: int = 1_000
    insert_rows_max: int = 500_000
    file_slice_records: int = 400_000
    file_slice_bytes: int = 64 * 1024 * 1024
    record_bytes_max: int = 1024 * 1024
    expansion_ratio_max: int = 500
    expansion_free_bytes: int = 16 * 1024 * 1024
    small_body_bytes_max: int = 64 * 1024
    joined_bytes_max: int = 8 * 1024 * 1024
    queue_bytes_max: int = 512 * 1024 * 1024
    queue_rows_max: int = 500_000
    refusals_reported_max: int = 1_000
    gate: GateKind = "memory"
    identities_waiting_max: int = 400_000
