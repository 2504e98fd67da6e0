"""What every command shares: whom to talk to, how to show the answer, how errors look."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from api.problem import ApiProblem, problem_of
from api.settings import Settings, load_settings
from ingest.errors import RatemillError

if TYPE_CHECKING:
    from api.client import RatemillClient

PIPE_COLUMNS: Final = 200
LIST_LIMIT_MAX: Final = 1_000
"""The most items one request lists; the same as the API's."""

Server = Annotated[
    str | None, typer.Option(help="Talk to this server, not to the data folder. [RATEMILL_SERVER]")
]
Key = Annotated[str | None, typer.Option(help="API key for the server. [RATEMILL_KEY]")]
Data = Annotated[Path | None, typer.Option(help="The data folder. [RATEMILL_DATA]")]
Limit = Annotated[int, typer.Option(min=1, max=LIST_LIMIT_MAX, help="How many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON and nothing else.")]

Column = tuple[str, str | Callable[[Mapping[str, Any]], Any]]

_COMMON: Final = (
    ("server", Server, None),
    ("key", Key, None),
    ("data", Data, None),
    ("as_json", AsJson, False),
)


@dataclass(frozen=True, slots=True)
class Session:
    """One command's run. ``out`` is for the answer, ``err`` for everything said beside it."""

    settings: Settings
    as_json: bool
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @contextmanager
    def client(self, *, needs_key: bool = True) -> Iterator[RatemillClient]:
        """Connect, and say to whom. needs_key: whether what is asked needs an API key of a server."""
        from api.client import connect  # noqa: PLC0415 - `ratemill price` talks to nobody

        with connect(self.settings, needs_key=needs_key) as client:
            self.say(f"Using {client.where}.")
            yield client

    def say(self, words: str) -> None:
        """Something beside the answer, for people; silent with --json."""
        if not self.as_json:
            self.err.print(words, style="dim", markup=False, soft_wrap=True)

    def show(self, answer: Any, *shown: Any) -> None:
        """The answer: as JSON when that was asked for, else what is given to show."""
        if self.as_json:
            self.show_json(answer)
            return
        for item in shown:
            is_text = isinstance(item, str)
            # A text may hold what others wrote, and [brackets] are part of it.
            self.out.print(item, soft_wrap=is_text, markup=not is_text)

    def show_json(self, answer: Any) -> None:
        """One JSON text on one line, exact as the API wrote it."""
        from api.json import to_json  # noqa: PLC0415 - pulls in Arrow, and `ratemill price` starts without

        typer.echo(to_json(answer).decode())

    def fail(self, document: Mapping[str, Any]) -> typer.Exit:
        """Show a problem; raise what this returns."""
        if self.as_json:
            self.show_json(document)
        else:
            self.err.print("error:", style="bold red", end=" ")
            self.err.print(str(document["detail"]), markup=False, soft_wrap=True)
            for issue in document.get("issues", ()):
                if issue["message"] not in document["detail"]:
                    where = f"{issue['pointer']}: " if issue["pointer"] else ""
                    words = (
                        f"{where}{issue['message']} Expected: {issue['expected']} [{issue['reason_code']}]"
                    )
                    self.err.print(f"  - {words}", markup=False, soft_wrap=True)
        return typer.Exit(1)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS  # a file or a pipe has no width; ids must stay in one piece there
    return console


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register ``function(session, ...)`` as a command; adds --server, --key, --data and --json to it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name != "session"
        ]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, annotation, default in _COMMON
        ]
        keyword_only = [own_one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for own_one in own]

        def run(**arguments: Any) -> None:
            given = {option: arguments.pop(option) for option, _, _ in _COMMON}
            as_json = given.pop("as_json")
            try:
                session = Session(load_settings(**given), as_json)
            except RatemillError as error:
                raise Session(Settings.model_construct(), as_json).fail(problem_of(error)) from None
            with problems_shown(session):
                function(session, **arguments)

        run.__doc__ = function.__doc__
        run.__signature__ = inspect.Signature([*keyword_only, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*keyword_only, *common]}
        app.command(name)(run)
        return function

    return register


@contextmanager
def problems_shown(session: Session) -> Iterator[None]:
    """Show a problem of the API, or an error of ours, and leave with status 1."""
    try:
        yield
    except ApiProblem as error:
        raise session.fail(error.document) from None
    except RatemillError as error:
        raise session.fail(problem_of(error)) from None


def group(app: typer.Typer, name: str, help_text: str) -> typer.Typer:
    """A command with subcommands."""
    sub = typer.Typer(help=help_text, no_args_is_help=True)
    app.add_typer(sub, name=name)
    return sub


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to print: a table, or one field a line when the terminal is too narrow for a table that
    breaks no word (an id broken in two cannot be copied)."""

    headings: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    title: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        if widths is not None:
            yield self._as_table(widths)
            return
        if self.title:
            yield f"{self.title}\n"
        for row in self.cells:
            yield self._as_fields(row)

    def _widths(self, width: int) -> list[int] | None:
        """Columns as wide as their text, or else what is left over shared out above their longest
        words; None when these alone are too wide. Rich would narrow all columns and break words."""
        columns = list(zip(*([heading.rstrip(">") for heading in self.headings], *self.cells), strict=True))
        least = [
            max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns
        ]
        full = [
            max(cell_len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns
        ]
        spare = width - 2 * len(columns) - sum(least)
        if spare < 0:
            return None
        wanted = [most - few for most, few in zip(full, least, strict=True)]
        share = min(1.0, spare / max(sum(wanted), 1))
        return [few + int(extra * share) for few, extra in zip(least, wanted, strict=True)]

    def _as_table(self, widths: Sequence[int]) -> Table:
        made = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
        )
        for heading, width in zip(self.headings, widths, strict=True):
            justify: Literal["left", "right"] = "right" if heading.endswith(">") else "left"
            made.add_column(heading.rstrip(">"), justify=justify, overflow="fold", width=width)
        for row in self.cells:
            made.add_row(*row)
        return made

    def _as_fields(self, row: Sequence[str]) -> Table:
        made = Table.grid(padding=(0, 2, 0, 0))
        made.add_column(style="bold")
        made.add_column(overflow="fold")
        for heading, cell in zip(self.headings, row, strict=True):
            if cell:
                made.add_row(heading.rstrip(">"), cell)
        made.add_row()
        return made


def table(items: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, title: str | None = None) -> Rows:
    """Rows as a table; a column is a heading and a field name or a function of the row.
    A heading that ends in ``>`` is set to the right (numbers)."""
    cells = [
        tuple(_cell(read(item) if callable(read) else item.get(read)) for _, read in columns)
        for item in items
    ]
    return Rows(tuple(heading for heading, _ in columns), tuple(cells), title)


def grouped(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Reads a decimal text of a row, with thousands separators: ``1,421,524,158.5``."""
    return lambda item: grouped_number(item.get(name))


def grouped_number(text: str | None) -> str:
    """A decimal text with thousands separators; nothing for none."""
    from decimal import Decimal  # noqa: PLC0415

    return "" if text is None else f"{Decimal(text):,f}"


def moment(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Reads an instant of a row, to the second and with ``Z``."""
    return lambda item: re.sub(r"(\.\d+)?(\+00:00|Z)$", "Z", item.get(name) or "")


def more(limit: int) -> str:
    """What to say when a list goes on."""
    if limit < LIST_LIMIT_MAX:
        return f"There are more: --limit {min(limit * 10, LIST_LIMIT_MAX)} shows more of them."
    return "There are more; over HTTP, `next_cursor` leads on."


def _cell(value: Any) -> str:
    from rich.markup import escape  # noqa: PLC0415 - only when something is shown

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return escape(", ".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return escape(", ".join(str(item) for item in value))
    return escape(str(value))
