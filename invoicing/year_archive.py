"""The archive of a year: a ZIP with everything a tax office or a court asks for, and the hashes to prove it.

    documents/INV-2026/INV-2026-000001.json   canonical text; its SHA-256 is the document's hash
    documents/INV-2026/INV-2026-000001.pdf    as it was sent, or as it would print
    documents/INV-2026/INV-2026-000001.xml    as e-invoice, of documents that state their tax
    register.csv                              one row a document, with hash and chain hash
    journal.csv, audit.ndjson                 the entries of the year
    manifest.json                             what of, where chains begin and end, what is left out
    SHA256SUMS                                of all of them; ``sha256sum -c`` needs nothing of ours

It is written as it is read, in bounded memory. The same records are the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, func, select

from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_snapshot
from invoicing.audit_tables import AUDIT_ENTRIES
from invoicing.bulk import select_by_ids
from invoicing.delivery.documents import PDF, XML, Document, DocumentShelf, kept_file
from invoicing.delivery.tables import DOCUMENT_FILES
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.number import number_text
from invoicing.register import CHAIN_START
from invoicing.retention import load_retention_rule
from invoicing.tables import ISSUED_DOCUMENTS
from rating.money import format_minor

SCHEMA: Final = "ratemill.year_archive/1"
MANIFEST: Final = "manifest.json"
REGISTER: Final = "register.csv"
JOURNAL: Final = "journal.csv"
AUDIT: Final = "audit.ndjson"
SUMS: Final = "SHA256SUMS"
_BLOCK: Final = 200
_ROWS: Final = 5_000
_STAMP: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the ZIP, so that equal records are equal bytes."""

REGISTER_COLUMNS: Final = ("number_text", *(column.name for column in ISSUED_DOCUMENTS.columns))
_JOURNAL_COLUMNS: Final = (
    *(column.name for column in JOURNAL_ENTRIES.columns),
    *(column.name for column in JOURNAL_LINES.columns if column.name != "entry_number"),
)
_R: Final = ISSUED_DOCUMENTS.c


@dataclass(frozen=True, slots=True)
class YearArchive:
    """What is archived. entity_id None: of all entities. shelf: makes the files that were never sent."""

    year: int
    entity_id: str | None
    shelf: DocumentShelf

    def documents(self) -> ColumnElement[bool]:
        """The condition on ISSUED_DOCUMENTS."""
        of_year = _R.issue_date.between(f"{self.year:04d}-01-01", f"{self.year:04d}-12-31")
        return of_year if self.entity_id is None else and_(of_year, _R.entity_id == self.entity_id)


@dataclass(slots=True)
class _Writer:
    """A ZIP whose bytes are taken away as they come, and the hash of each of its files."""

    hashes: dict[str, str] = field(default_factory=dict)
    sink: _Sink = field(init=False)
    zipped: zipfile.ZipFile = field(init=False)

    def __post_init__(self) -> None:
        self.sink = _Sink()
        self.zipped = zipfile.ZipFile(self.sink, "w", zipfile.ZIP_DEFLATED)

    def add(self, name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        info = zipfile.ZipInfo(name, _STAMP)
        info.compress_type = zipfile.ZIP_DEFLATED
        digest = hashlib.sha256()
        with self.zipped.open(info, "w", force_zip64=True) as file:
            for part in parts:
                digest.update(part)
                file.write(part)
                yield self.sink.take()
        self.hashes[name] = digest.hexdigest()
        yield self.sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def check_year(ledger: Engine, archive: YearArchive) -> None:
    """Raises InvalidInput for a year that cannot be, NotFound when nothing was issued in it."""
    if not 1900 <= archive.year <= 9999:
        raise InvalidInput(f"{archive.year} is no year; give one like 2026.", reason_code="bad_year")
    with ledger.connect() as connection:
        some = connection.execute(select(_R.document_id).where(archive.documents()).limit(1)).one_or_none()
    if some is None:
        whose = "" if archive.entity_id is None else f" by {archive.entity_id!r}"
        raise NotFound(
            f"no document was issued in {archive.year}{whose}. `ratemill archive years` lists "
            "what is on record."
        )


def write_archive(
    ledger: Engine, archive: YearArchive, *, written: Callable[[Mapping[str, Any]], None]
) -> Iterator[bytes]:
    """The bytes of the ZIP, as the ledger is at this moment. written: told the manifest, with the hash of
    SHA256SUMS as ``sums_hash``, when the last byte is made."""
    writer = _Writer()
    manifest: dict[str, Any] = {"schema": SCHEMA, "year": archive.year, "entity_id": archive.entity_id}
    with writer.zipped:
        with ledger_snapshot(ledger) as connection:
            yield from _records(connection, archive, writer, manifest)
        text = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        yield from writer.add(MANIFEST, [text])
        sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(writer.hashes.items())).encode()
        yield from writer.add(SUMS, [sums])
    yield writer.sink.take()
    written({**manifest, "sums_hash": hashlib.sha256(sums).hexdigest()})


def _records(
    connection: Connection, archive: YearArchive, writer: _Writer, manifest: dict[str, Any]
) -> Iterator[bytes]:
    """All but manifest and sums; the manifest is filled in on the way."""
    entities = connection.execute(select(_R.entity_id).where(archive.documents()).distinct()).scalars().all()
    rules = [load_retention_rule(connection, entity_id) for entity_id in entities]
    rule = max(rules, key=lambda one: (one.years, one.words))  # of several entities the longest
    kept_until = rule.kept_until(archive.year)
    manifest["retention"] = {"years": rule.years, "kept_until": str(kept_until), "rule": rule.words}
    manifest["series"] = [asdict(one) for one in _series(connection, archive)]
    manifest["documents"] = sum(one["count"] for one in manifest["series"])
    manifest["files"] = {"pdf_as_sent": 0, "pdf_printed": 0, "xml": 0, "without_xml": 0}
    for name, content in _document_files(connection, archive, manifest["files"]):
        yield from writer.add(name, [content])
    yield from writer.add(REGISTER, _register(connection, archive))
    yield from writer.add(JOURNAL, _journal(connection, archive))
    manifest["audit"] = _audit_range(connection, archive.year)
    yield from writer.add(AUDIT, _audit(connection, manifest["audit"]))


@dataclass(frozen=True, slots=True)
class _ArchivedSeries:
    """Of one series what the archive has. whole: nothing between first and last is left out, so that the
    chain can be followed from chain_before to chain_after."""

    series: str
    count: int
    first: int
    last: int
    whole: bool
    chain_before: str
    chain_after: str


def _series(connection: Connection, archive: YearArchive) -> list[_ArchivedSeries]:
    counted = (
        select(_R.series, func.count(), func.min(_R.number), func.max(_R.number))
        .where(archive.documents())
        .group_by(_R.series)
        .order_by(_R.series)
    )
    found = []
    for series, count, first, last in connection.execute(counted).all():
        chain = select(_R.number, _R.chain_hash).where(_R.series == series, _R.number.in_([first - 1, last]))
        hashes = {row[0]: row[1] for row in connection.execute(chain)}
        whole = int(count) == last - first + 1
        before = hashes.get(first - 1, CHAIN_START)
        found.append(_ArchivedSeries(series, int(count), first, last, whole, before, hashes[last]))
    return found


def _document_files(
    connection: Connection, archive: YearArchive, counts: dict[str, int]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of every document, in the order of series and number."""
    for rows in _blocks(connection, _registered(archive), _BLOCK):
        ids = [row.document_id for row in rows]
        files = DOCUMENT_FILES.c
        kept = {
            (row.document_id, row.media_type): kept_file(row).content
            for row in select_by_ids(connection, select(DOCUMENT_FILES), files.document_id, ids)
        }
        for row in rows:
            document = archive.shelf.get(row.document_id)
            stem = f"documents/{row.series}/{document.number}"
            yield f"{stem}.json", document.text.encode()
            sent = kept.get((row.document_id, PDF))
            counts["pdf_printed" if sent is None else "pdf_as_sent"] += 1
            yield f"{stem}.pdf", archive.shelf.printed(document, PDF) if sent is None else sent
            xml = kept.get((row.document_id, XML)) or _xml(archive.shelf, document)
            counts["without_xml" if xml is None else "xml"] += 1
            if xml is not None:
                yield f"{stem}.xml", xml


def _xml(shelf: DocumentShelf, document: Document) -> bytes | None:
    try:
        return shelf.printed(document, XML)
    except (InvalidInput, Conflict):
        return None  # it lacks what EN 16931 asks for, or is of a kind that is none: it was no e-invoice


def _registered(archive: YearArchive) -> Select[Any]:
    return select(ISSUED_DOCUMENTS).where(archive.documents()).order_by(_R.series, _R.number)


def _register(connection: Connection, archive: YearArchive) -> Iterator[bytes]:
    yield _csv([REGISTER_COLUMNS])
    for rows in _blocks(connection, _registered(archive), _ROWS):
        yield _csv((number_text(series=row.series, number=row.number), *row) for row in rows)


def _journal(connection: Connection, archive: YearArchive) -> Iterator[bytes]:
    """Entries dated in the year; of one entity, those of its documents."""
    entries = JOURNAL_ENTRIES.c
    lines = [column for column in JOURNAL_LINES.columns if column.name != "entry_number"]
    statement = (
        select(*JOURNAL_ENTRIES.columns, *lines)
        .select_from(JOURNAL_ENTRIES.join(JOURNAL_LINES))
        .where(entries.entry_date.between(f"{archive.year:04d}-01-01", f"{archive.year:04d}-12-31"))
        .order_by(entries.entry_number, JOURNAL_LINES.c.position)
    )
    if archive.entity_id is not None:
        owned = select(_R.document_id).where(_R.entity_id == archive.entity_id)
        statement = statement.where(entries.document_id.in_(owned))
    yield _csv([(*_JOURNAL_COLUMNS, "amount")])
    for rows in _blocks(connection, statement, _ROWS):
        yield _csv((*row, format_minor(row.amount_minor, row.currency)) for row in rows)


def _audit_range(connection: Connection, year: int) -> dict[str, Any]:
    """The entries of a year, whoever they are about, without gap: the chain covers all of them."""
    entries = AUDIT_ENTRIES.c
    of_year = and_(entries.occurred_at >= f"{year:04d}-01-01", entries.occurred_at < f"{year + 1:04d}-01-01")
    first, last = connection.execute(
        select(func.min(entries.sequence), func.max(entries.sequence)).where(of_year)
    ).one()
    if first is None:
        return {"first": None, "last": None, "hash_before": "", "hash_after": ""}
    chain = select(entries.sequence, entries.entry_hash).where(entries.sequence.in_([first - 1, last]))
    hashes = {row[0]: row[1] for row in connection.execute(chain)}
    return {
        "first": first,
        "last": last,
        "hash_before": hashes.get(first - 1, ""),
        "hash_after": hashes[last],
    }


def _audit(connection: Connection, which: Mapping[str, Any]) -> Iterator[bytes]:
    if which["first"] is None:
        return
    entries = AUDIT_ENTRIES.c.sequence
    names = [str(column.name) for column in AUDIT_ENTRIES.columns]
    statement = select(AUDIT_ENTRIES).where(entries.between(which["first"], which["last"])).order_by(entries)
    for rows in _blocks(connection, statement, _ROWS):
        yield b"".join(orjson.dumps(dict(zip(names, row, strict=True))) + b"\n" for row in rows)


def _blocks(connection: Connection, statement: Select[Any], size: int) -> Iterator[Sequence[Row[Any]]]:
    # Of this statement only: on the connection it would be of all that follow.
    result = connection.execute(statement, execution_options={"yield_per": size})
    yield from result.partitions(size)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
