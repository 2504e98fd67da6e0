"""Goal: a year's records are one file that proves itself, and nothing of them can be deleted."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ingest.errors import BrokenState, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.billing_entity import BillingEntity
from invoicing.country_profile import CountryProfile, Retention
from invoicing.delivery.documents import PDF, DocumentShelf
from invoicing.delivery.files import document_shelf
from invoicing.document import InvoicePrinter
from invoicing.retention import retained_years, retention_rule
from invoicing.year_archive import YearArchive, check_year, write_archive
from invoicing.year_archive_check import verify_archive
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_document_search import archived
from tests.invoicing.test_special_invoices import issue
from tests.invoicing.world import World, at

PRINTER = InvoicePrinter()


def shelf_of(world: World) -> DocumentShelf:
    return document_shelf(world.ledger, PRINTER, profile="en16931")


def write(world: World, path: Path, year: int = 2025, entity_id: str | None = None) -> Mapping[str, Any]:
    manifests: list[Mapping[str, Any]] = []
    archive = YearArchive(year, entity_id, shelf_of(world))
    check_year(world.ledger, archive)
    path.write_bytes(b"".join(write_archive(world.ledger, archive, written=manifests.append)))
    (manifest,) = manifests
    return manifest


@pytest.mark.requirement("TAX-05")
def test_a_year_is_one_file_that_proves_itself(any_world: World, tmp_path: Path) -> None:
    world = archived(any_world)
    issue(world, "miscellaneous", "1.00", reason="the year after", on="2026-01-02", now="2026-01-03")
    shelf = shelf_of(world)
    first = world.invoices()[0].summary.invoice_id
    sent = shelf.file(shelf.get(first), PDF, now=at("2025-01-16"))
    path = tmp_path / "2025.zip"
    manifest = write(world, path)
    assert (manifest["documents"], manifest["retention"]["kept_until"]) == (5, "2035-12-31")
    assert manifest["files"] == {"pdf_as_sent": 1, "pdf_printed": 4, "xml": 5, "without_xml": 0}
    proof = verify_archive(path)
    assert (proof.problems, proof.files) == ((), 5 * 3 + 5)
    with zipfile.ZipFile(path) as zipped:
        zipped.extractall(tmp_path / "out")
        assert b"the year after" not in b"".join(zipped.read(name) for name in zipped.namelist())
        assert zipped.read("documents/INV-2025/INV-2025-000001.pdf") == sent.content
        kept = zipped.read("documents/INV-2025/INV-2025-000001.json")
        register = zipped.read("register.csv").decode().splitlines()
        assert zipped.read("journal.csv").decode().count("\n") > 5
    (row,) = [line for line in register if line.startswith("INV-2025-000001,")]
    assert hashlib.sha256(kept).hexdigest() in row.split(",")
    checked = subprocess.run(
        [shutil.which("sha256sum") or "sha256sum", "-c", "--quiet", "SHA256SUMS"],
        cwd=tmp_path / "out",
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, b"")
    write(world, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()
    with_entity = write(world, tmp_path / "de.zip", entity_id="de")
    assert (with_entity["documents"], verify_archive(tmp_path / "de.zip").problems) == (5, ())
    with pytest.raises(NotFound, match="2019"):
        write(world, tmp_path / "none.zip", year=2019)
    _altered(path, tmp_path / "other.zip")
    _damaged(path, tmp_path / "damaged.zip")
    (tmp_path / "half.zip").write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(InvalidInput, match="not all of it"):
        verify_archive(tmp_path / "half.zip")
    for act in (
        "DELETE FROM document_files",
        "UPDATE document_files SET content_hash = ''",
        *_truncate(world),
    ):
        with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(world.ledger) as connection:
            connection.execute(text(act))


def _truncate(world: World) -> list[str]:
    return ["TRUNCATE document_files"] if world.ledger.dialect.name == "postgresql" else []


def _altered(path: Path, other: Path) -> None:
    """Whatever is changed, left out or slipped in is found; also where the sums were made to fit."""
    text_name, audit = "documents/INV-2025/INV-2025-000002.json", "audit.ndjson"
    changes: dict[str, tuple[str, bytes | None, str]] = {
        "a document": (text_name, b'"Monthly fee"', "is not the document that was issued"),
        "a document gone": (text_name, None, "its text is missing"),
        "an audit entry": (audit, b'"issued"', "audit entry"),
        "a row of the register": ("register.csv", b"INV-2025-000002,", "documents, and"),
    }
    for what, (name, old, said) in changes.items():
        _rewrite(path, other, name, old)
        problems = " ".join(verify_archive(other).problems)
        assert said in problems, (what, problems)
    _rewrite(path, other, text_name, b'"Monthly fee"', fit_sums=False)
    assert "its SHA-256 differs" in " ".join(verify_archive(other).problems)


def _damaged(path: Path, other: Path) -> None:
    """A disk that loses a byte of a file: the file is named, wherever in it that is."""
    with zipfile.ZipFile(path) as zipped:
        info = zipped.getinfo("documents/INV-2025/INV-2025-000002.json")
    starts = info.header_offset + 30 + len(info.filename) + 20  # after its name and its size in 64 bits
    for place in range(starts, starts + info.compress_size - 20, info.compress_size // 8):
        content = bytearray(path.read_bytes())
        content[place] ^= 0xFF
        other.write_bytes(content)
        assert f"{info.filename} cannot be read" in " ".join(verify_archive(other).problems), place


def _rewrite(path: Path, other: Path, name: str, old: bytes | None, *, fit_sums: bool = True) -> None:
    """A copy with one file changed (``old`` to something else; the register loses the row) or left out."""
    with zipfile.ZipFile(path) as zipped:
        files = {each: zipped.read(each) for each in zipped.namelist()}
    if old is None:
        del files[name]
    elif name == "register.csv":
        rows = files[name].splitlines(keepends=True)
        files[name] = b"".join(row for row in rows if not row.startswith(old))
    else:
        assert old in files[name]
        files[name] = files[name].replace(old, b'"else"', 1)
    if fit_sums:
        sums = {each: hashlib.sha256(files[each]).hexdigest() for each in files if each != "SHA256SUMS"}
        files["SHA256SUMS"] = "".join(f"{sums[each]}  {each}\n" for each in sorted(sums)).encode()
    with zipfile.ZipFile(other, "w") as zipped:
        for each, content in files.items():
            zipped.writestr(each, content)


def test_a_sent_file_that_somebody_changed_is_not_archived_as_what_was_sent(
    world: World, tmp_path: Path
) -> None:
    world.plan(MONTHLY_FEE)
    world.contract()
    world.bill("2025-01-15")
    shelf = shelf_of(world)
    shelf.file(shelf.get(world.invoices()[0].summary.invoice_id), PDF, now=at("2025-01-16"))
    with ledger_transaction(world.ledger) as connection:  # past the triggers, as an administrator can
        connection.execute(text("DROP TRIGGER document_files_never_update"))
        connection.execute(text("UPDATE document_files SET content = CAST('other' AS BLOB)"))
    with pytest.raises(BrokenState, match="not what was sent"):
        write(world, tmp_path / "2025.zip")


@pytest.mark.requirement("TAX-05")
def test_the_retention_rule_is_the_entitys_or_its_countrys() -> None:
    entity = {"entity_id": "e", "legal_name": "E", "country": "GB"}
    british = BillingEntity.model_validate(entity)
    longer = BillingEntity.model_validate({**entity, "retention_years": 12})
    nowhere = BillingEntity.model_validate({**entity, "country": "JP"})
    saved = {"GB": CountryProfile(country="GB", retention=Retention(years=8, words="our auditors"))}
    assert retention_rule(british, {}).kept_until(2025) == date(2031, 12, 31)
    assert retention_rule(british, saved).words == "our auditors"
    assert retention_rule(british, {"GB": CountryProfile(country="GB")}).years == 6
    assert retention_rule(longer, saved).kept_until(2025) == date(2037, 12, 31)
    assert retention_rule(nowhere, {}) == retention_rule(None, {})
    assert retention_rule(None, {}).years == 10
    assert "retention_years" not in british.model_dump()


def test_what_is_on_record_is_listed_by_entity_and_year(world: World) -> None:
    assert retained_years(world.ledger) == []
    archived(world)
    (listed,) = retained_years(world.ledger)
    assert (listed.entity_id, listed.year, listed.documents, listed.archived_at) == ("de", 2025, 5, None)
    assert listed.rule.words.startswith("books and journals")
