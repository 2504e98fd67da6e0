"""`ratemill whatif`: past usage under other prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.billing import HELD_COLUMNS
from api.cli.invoice_view import money
from api.cli.session import Column, Session, command, table
from ingest.errors import InvalidInput, UnreadableBody

ROWS_SHOWN_MAX: Final = 50
MEDIA_OF_FILES: Final = {".arrow": "application/vnd.apache.arrow.stream", ".csv": "text/csv"}

First = Annotated[str, typer.Option("--from", help="First billing date, like 2026-01-01.")]
End = Annotated[str, typer.Option("--to", help="The first billing date that no longer counts.")]
Contracts = Annotated[
    list[str] | None,
    typer.Option("--contract", "--contracts", help="Only this contract; may be given several times."),
]
Out = Annotated[
    Path | None, typer.Option(help="Write all rows to this file, FILE.csv or FILE.arrow, of any number.")
]


def amount(name: str, *, sign: bool = False) -> Any:
    """Reads minor units of a row, as money; nothing for none."""

    def read(item: Mapping[str, Any]) -> str:
        from rating.money import minor_digits  # noqa: PLC0415

        if item[name] is None:
            return ""
        shown = money(item[name], minor_digits(item["currency"]))
        return f"+{shown}" if sign and item[name] > 0 else shown

    return read


TOTAL_COLUMNS: Final[tuple[Column, ...]] = (
    ("variant", "name"),
    ("contracts>", "contracts"),
    ("pay less>", "winners"),
    ("pay more>", "losers"),
    ("the same>", "unchanged"),
    ("held>", "held"),
    ("now>", amount("now_minor")),
    ("then>", amount("variant_minor")),
    ("difference>", amount("difference_minor", sign=True)),
    ("", "currency"),
)
ITEM_COLUMNS: Final[tuple[Column, ...]] = (
    ("variant", "variant"),
    ("contract", "contract_id"),
    ("customer", "customer_id"),
    ("plan", "plan_id"),
    ("now>", amount("now_minor")),
    ("then>", amount("variant_minor")),
    ("difference>", amount("difference_minor", sign=True)),
    ("", "currency"),
    ("held", "reason_code"),
)


def add_commands(app: typer.Typer) -> None:
    @command(app, "whatif")
    def whatif(
        session: Session,
        plan: Annotated[
            list[Path],
            typer.Option(
                exists=True,
                dir_okay=False,
                help="A variant: a file with one price plan, or several of different plan_id. May be given "
                "several times.",
            ),
        ],
        first: First,
        end: End,
        contract: Contracts = None,
        out: Out = None,
    ) -> None:
        """What customers would have paid under other prices: who pays less, who more, and the sums.

        Nothing is saved. Leaves with status 1 when somebody could not be priced; the answer says why.
        """
        question = {
            "date_from": first,
            "date_to": end,
            "contracts": contract or None,
            "variants": [_variant(path) for path in plan],
        }
        answer = ask(session, "/v1/what-if", question, out=out)
        if answer is not None:
            session.show(answer, *_shown(answer))
            if answer["held"]:
                raise typer.Exit(1)


def ask(session: Session, path: str, question: Mapping[str, Any], *, out: Path | None) -> Any:
    """The answer as JSON; or None, when it was written to the file ``out`` and that was said."""
    from api.json import to_json  # noqa: PLC0415

    if out is not None and out.suffix not in MEDIA_OF_FILES:
        raise typer.BadParameter(
            f"{str(out)!r} ends in none of {', '.join(MEDIA_OF_FILES)}.", param_hint="--out"
        )
    body = to_json(question)
    with session.client() as client, _waiting(session):
        if out is None:
            return client.post(path, body)
        content = client.post_for_bytes(path, body, accept=MEDIA_OF_FILES[out.suffix])
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InvalidInput(
            f"{out} cannot be written: {error.strerror}. --out names another file.",
            reason_code="file_not_written",
        ) from None
    session.show({"path": str(out), "bytes": len(content)}, f"{out} ({len(content):,} bytes)")
    return None


@contextmanager
def _waiting(session: Session) -> Iterator[None]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=session.err, transient=True, disable=session.as_json) as shown:
        shown.add_task("pricing", total=None)
        yield


def _variant(path: Path) -> dict[str, Any]:
    """The plans of one file, under its name without the ending."""
    from ingest.document import read_documents  # noqa: PLC0415

    try:
        return {"name": path.stem, "plans": read_documents(path.read_bytes())}
    except UnreadableBody as error:
        raise UnreadableBody(f"{path}: {error}", reason_code=error.reason_code) from None


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    totals = [
        {"name": variant["name"], "held": variant["held"], **total}
        for variant in answer["variants"]
        for total in variant["totals"]
    ]
    words = f"Billing dates from {answer['date_from']} on, before {answer['date_to']}. Nothing was saved."
    shown: list[Any] = [words]
    if totals:
        shown.append(table(totals, TOTAL_COLUMNS))
    shown += rows_shown(answer["items"], ITEM_COLUMNS)
    if answer["held"]:
        columns = (("variant", lambda item: item["variant"] or "prices now"), *HELD_COLUMNS)
        shown.append(table(answer["held"], columns, title="Held, and why; in no sum"))
    return shown


def rows_shown(items: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[Any]:
    """The first rows as a table, and where all of them are."""
    if not items:
        return ["No contract has anything in this time."]
    shown: list[Any] = [table(items[:ROWS_SHOWN_MAX], columns)]
    if len(items) > ROWS_SHOWN_MAX:
        shown.append(f"{len(items):,} rows; --out FILE.csv writes all of them, --json prints them.")
    return shown
