"""Proves the archive of a year from the file alone, as an auditor would who has nothing else."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ingest.errors import InvalidInput
from invoicing.audit_trail import entry_hash
from invoicing.register import chained
from invoicing.year_archive import AUDIT, MANIFEST, REGISTER, SCHEMA, SUMS

_CHUNK: Final = 1 << 20
_SHOWN_MAX: Final = 20
_UNREADABLE: Final = (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class ArchiveProof:
    """What the file is of, and what is wrong with it: nothing, where it is what was written."""

    manifest: dict[str, Any]
    files: int
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "proved": not self.problems,
            "files": self.files,
            "problems": list(self.problems),
            "manifest": self.manifest,
        }


def verify_archive(path: Path) -> ArchiveProof:
    """Read the whole file and prove it. Raises InvalidInput for a file that is no such archive."""
    try:
        with zipfile.ZipFile(path) as zipped:
            manifest = orjson.loads(zipped.read(MANIFEST))
            sums = zipped.read(SUMS).decode()
            if manifest.get("schema") != SCHEMA:
                raise InvalidInput(
                    f"{path} has schema {manifest.get('schema')!r}; this version reads {SCHEMA}."
                )
            damaged, problems = _hashes(zipped, sums)
            if not damaged:  # of what cannot be read, nothing more can be said
                problems += [*_documents(zipped, manifest), *_audit(zipped, manifest)]
            count = len(zipped.namelist())
    except (OSError, KeyError, ValueError, *_UNREADABLE) as error:
        raise InvalidInput(
            f"{path} is not the archive of a year, or not all of it: {error}. `ratemill archive year` "
            "writes one.",
            reason_code="not_an_archive",
        ) from None
    more = len(problems) - _SHOWN_MAX
    shown = problems[:_SHOWN_MAX] + ([f"... and {more:,} more."] if more > 0 else [])
    return ArchiveProof(manifest, count, tuple(shown))


def _hashes(zipped: zipfile.ZipFile, sums: str) -> tuple[bool, list[str]]:
    """Every file is the one that was written, and none is missing or slipped in. Whether one cannot be read,
    and all that is wrong."""
    wanted = {name: digest for digest, name in (line.split("  ", 1) for line in sums.splitlines())}
    listed = zipped.namelist()
    names = set(listed)
    damaged, found = False, []
    for name in sorted({*wanted, *names} - {SUMS}):
        if name not in wanted:
            found.append(f"{name} is in the archive and not in {SUMS}.")
        elif name not in names:
            found.append(f"{name} is missing.")
        elif (digest := _hash_of(zipped, name)) is None:
            damaged = True
            found.append(f"{name} cannot be read: the archive is damaged there. Take another copy of it.")
        elif digest != wanted[name]:
            found.append(f"{name} is not the file that was written: its SHA-256 differs.")
    if len(listed) != len(names):
        found.append("the archive has two files of one name.")
    return damaged, found


def _hash_of(zipped: zipfile.ZipFile, name: str) -> str | None:
    """None for a file that cannot be unpacked."""
    digest = hashlib.sha256()
    try:
        with zipped.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except _UNREADABLE:
        return None
    return digest.hexdigest()


def _documents(zipped: zipfile.ZipFile, manifest: dict[str, Any]) -> Iterator[str]:
    """The register has every document that the manifest counts, each is the one that was issued, and where a
    series is whole its numbers and its chain of hashes run through."""
    names = set(zipped.namelist())
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(zipped.read(REGISTER).decode())):
        rows.setdefault(row["series"], []).append(row)
    for said in manifest["series"]:
        series = rows.pop(said["series"], [])
        if len(series) != said["count"]:
            yield f"series {said['series']} has {len(series)} documents, and {said['count']} were written."
        head: str = said["chain_before"]
        for place, row in enumerate(series):
            name = f"documents/{row['series']}/{row['number_text']}.json"
            if name not in names:
                yield f"{row['number_text']} is in the register, and its text is missing."
                break
            text = zipped.read(name).decode()
            if hashlib.sha256(text.encode()).hexdigest() != row["document_hash"]:
                yield f"{row['number_text']} is not the document that was issued: its hash differs."
            head = chained(head, text)
            if said["whole"] and (int(row["number"]) != said["first"] + place or head != row["chain_hash"]):
                yield f"the chain of series {said['series']} breaks at {row['number_text']}."
                break
        else:
            if said["whole"] and head != said["chain_after"]:
                yield f"the chain of series {said['series']} ends with another hash than was written."
    for series_name in rows:
        yield f"series {series_name} is in the register and not in the manifest."


def _audit(zipped: zipfile.ZipFile, manifest: dict[str, Any]) -> Iterator[str]:
    """The entries of the audit trail follow each other, and their hashes run through."""
    said = manifest["audit"]
    head, sequence = said["hash_before"], (said["first"] or 1) - 1
    for line in zipped.read(AUDIT).splitlines():
        entry = orjson.loads(line)
        sequence += 1
        head = entry_hash(head, tuple(entry.values())[:-1])
        if entry["sequence"] != sequence or entry["entry_hash"] != head:
            yield f"audit entry {sequence} is missing or is not what was entered."
            return
    if said["first"] is not None and (sequence, head) != (said["last"], said["hash_after"]):
        yield f"the audit trail ends with entry {sequence}, and {said['last']} were written."
