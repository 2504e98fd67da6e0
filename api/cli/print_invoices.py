"""`ratemill invoice print`: many invoices as PDF, into a folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.files import write_file
from api.cli.session import Session, command
from ingest.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.client import RatemillClient

_AT_ONCE: Final = 200
_ZIP: Final = "application/zip"


def add_commands(invoices: typer.Typer) -> None:
    @command(invoices, "print")
    def print_all(
        session: Session,
        out: Annotated[Path, typer.Option(help="Folder to write NUMBER.pdf into; made if it is not there.")],
        run: Annotated[str | None, typer.Option(help="Only invoices of this billing run.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    ) -> None:
        """Write issued invoices as PDF, a file each, by RATEMILL_PRINT_PROCESSES processes."""
        params = {"run_id": run, "customer_id": customer, "state": "issued", "limit": _AT_ONCE}
        _make_folder(out)
        with session.client() as client:
            count, size = _print(session, client, params, out)
        if not count:
            none = "No issued invoice fits. `ratemill invoice list` shows those there are."
            session.show({"folder": str(out), "files": 0, "bytes": 0}, none)
            return
        session.show(
            {"folder": str(out), "files": count, "bytes": size}, f"{out}: {count:,} files ({size:,} bytes)"
        )


def _print(session: Session, client: RatemillClient, params: dict[str, Any], out: Path) -> tuple[int, int]:
    """Files written and their bytes; a bar counts them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    total = client.get("/v1/invoices", {**params, "limit": 1, "totals": "true"})["totals"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    count = size = 0
    with Progress(*columns, console=session.err, transient=True, disable=session.as_json) as bars:
        task = bars.add_task("print", total=sum(one["invoices"] for one in total))
        for ids in _pages(client, params):
            body = client.post_for_bytes("/v1/invoices/pdf", _body(ids), accept=_ZIP)
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                for name in archive.namelist():
                    pdf = archive.read(name)
                    write_file(out / name, pdf)
                    count, size = count + 1, size + len(pdf)
            bars.update(task, completed=count)
    return count, size


def _pages(client: RatemillClient, params: dict[str, Any]) -> Iterator[list[str]]:
    cursor = None
    while True:
        answer = client.get("/v1/invoices", {**params, "cursor": cursor})
        if answer["items"]:
            yield [item["invoice_id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return


def _body(ids: list[str]) -> bytes:
    import orjson  # noqa: PLC0415

    return orjson.dumps({"invoices": ids})


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"{out} cannot be made: {error.strerror}. --out names another folder.",
            reason_code="file_not_written",
        ) from None
