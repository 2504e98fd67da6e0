"""Every provisioning question with its answer, kept: written to a file before the answer goes out, and moved
into the event store in blocks. A kill loses none, and no question waits for the store.

A file is one block under a token of its own (its name), so moving it again after a kill adds nothing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson
import pyarrow as pa

from api.json import to_json
from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.event import QUANTITY_TYPE, TIMESTAMP
from ingest.query import Where, instant_sql

MOVE_SECONDS: Final = 1
CHECKS_PER_FILE_MAX: Final = 100_000
FOLDER: Final = "entitlement-checks"

_logger = logging.getLogger("ratemill.entitlements")

CHECK_SCHEMA: Final = pa.schema(
    [
        pa.field("check_id", pa.string(), nullable=False),
        pa.field("asked_at", TIMESTAMP, nullable=False),
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("asked_by", "subject", "contract_id", "customer_id", "meter_id")
        ),
        pa.field("quantity", QUANTITY_TYPE, nullable=False),
        pa.field("allowed", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("decided_by", pa.string(), nullable=False),
        *(pa.field(name, QUANTITY_TYPE) for name in ("used", "limit", "remaining")),
        pa.field("as_of_sequence", pa.uint64(), nullable=False),
        pa.field("answered_micros", pa.uint64(), nullable=False),
    ]
)
_NUMBERS: Final = ("quantity", "used", "limit", "remaining")


@dataclass(frozen=True, slots=True)
class EntitlementCheck:
    """One question and its answer. asked_by: name of the API key. subject, contract_id, customer_id: as
    asked, empty where not given. decided_by: the contract that decided, or empty. answered_micros: how long
    the answer took."""

    check_id: str
    asked_at: datetime
    asked_by: str
    subject: str
    contract_id: str
    customer_id: str
    meter_id: str
    quantity: Decimal
    allowed: bool
    reason: str
    decided_by: str
    used: Decimal | None
    limit: Decimal | None
    remaining: Decimal | None
    as_of_sequence: int
    answered_micros: int


class CheckLog:
    """One a process and data folder. Every method may be called from any thread."""

    def __init__(self, store: EventStore, data_folder: Path) -> None:
        self._store = store
        self._folder = data_folder / FOLDER
        self._lock = threading.Lock()
        self._moving = threading.Lock()
        self._file: int | None = None
        self._lines = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, check: EntitlementCheck) -> None:
        """Keep one; in the hands of the operating system when this returns."""
        line = to_json(asdict(check)) + b"\n"
        with self._lock:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / f"{uuid4().hex}.ndjson"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(self._file, line)
            self._lines += 1
            if self._lines >= CHECKS_PER_FILE_MAX:
                self._end_file()
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._loop, name="entitlement-checks", daemon=True)
                self._thread.start()

    def move(self) -> None:
        """Put everything kept so far into the event store, files of a process that was killed too."""
        with self._moving:
            with self._lock:
                self._end_file()
            for path in sorted(self._folder.glob("*.ndjson")) if self._folder.exists() else ():
                rows = list(_read(path))
                if rows:
                    table = pa.Table.from_pylist(rows, schema=CHECK_SCHEMA)
                    self._store.insert("entitlement_checks", table, token=path.stem)
                path.unlink()

    def close(self) -> None:
        """Move what is left and stop. Again does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._try_to_move()

    def _end_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._lines = None, 0

    def _loop(self) -> None:
        while not self._stop.wait(MOVE_SECONDS):
            self._try_to_move()

    def _try_to_move(self) -> None:
        try:
            self.move()
        except Exception as error:  # the files stay, and the next time may succeed
            _logger.error("entitlement checks were not moved into the store yet", exc_info=error)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            # Only a power cut can leave half a line.
            _logger.error("%s: line %d is cut off and was left out: %r", path.name, number, line[:200])
            continue
        row |= {name: None if row[name] is None else Decimal(row[name]) for name in _NUMBERS}
        yield row | {"asked_at": datetime.fromisoformat(row["asked_at"])}


def list_checks(
    store: EventStore,
    *,
    limit: int,
    subject: str | None = None,
    contract_id: str | None = None,
    customer_id: str | None = None,
    meter_id: str | None = None,
    allowed: bool | None = None,
    asked_from: datetime | None = None,
    asked_to: datetime | None = None,
    after: tuple[int, str] | None = None,
) -> list[EntitlementCheck]:
    """Checks asked in [asked_from, asked_to), latest first. contract_id: asked for or decided by it.
    after: (asked_at in microseconds, check_id) of the last of the page before."""
    where = Where()
    where.add("subject = {subject:String}", subject=subject)
    where.add("(contract_id = {contract:String} OR decided_by = {contract:String})", contract=contract_id)
    where.add("customer_id = {customer:String}", customer=customer_id)
    where.add("meter_id = {meter:String}", meter=meter_id)
    where.add("allowed = {allowed:Bool}", allowed=allowed)
    where.add(
        f"asked_at >= {instant_sql('first')}", first=None if asked_from is None else to_micros(asked_from)
    )
    where.add(f"asked_at < {instant_sql('last')}", last=None if asked_to is None else to_micros(asked_to))
    if after is not None:
        where.add(
            f"(asked_at, check_id) < ({instant_sql('after_time')}, {{after_id:String}})",
            after_time=after[0],
            after_id=after[1],
        )
    names = [one.name for one in fields(EntitlementCheck)]
    texts = {"asked_by", "meter_id", "reason"}
    columns = [f"toString({name}) AS {name}" if name in texts else f"`{name}`" for name in names]
    columns[1] = "toUnixTimestamp64Micro(asked_at) AS asked_micros"
    rows = store.query(
        f"SELECT {', '.join(columns)} FROM entitlement_checks WHERE {where.sql()} "
        "ORDER BY entitlement_checks.asked_at DESC, check_id DESC LIMIT {limit:UInt64}",
        {**where.parameters, "limit": limit},
    ).to_pylist()
    return [EntitlementCheck(asked_at=from_micros(row.pop("asked_micros")), **row) for row in rows]
