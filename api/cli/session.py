"""What every command shares: whom to talk to, how to show the answer, how errors look."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from api.problem import ApiProblem, problem_of
from api.settings import Settings, load_settings
from ingest.errors import RatemillError

if TYPE_CHECKING:
    from api.client import RatemillClient

Server = Annotated[
    str | None, typer.Option(help="Talk to this server, not to the data folder. [RATEMILL_SERVER]")
]
Key = Annotated[str | None, typer.Option(help="API key for the server. [RATEMILL_KEY]")]
Data = Annotated[Path | None, typer.Option(help="The data folder. [RATEMILL_DATA]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON and nothing else.")]

PIPE_COLUMNS: Final = 200

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
    def client(self) -> Iterator[RatemillClient]:
        """Connect, and say to whom."""
        from api.client import connect  # noqa: PLC0415 - `ratemill price` talks to nobody

        with connect(self.settings) as client:
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
            self.out.print(item, soft_wrap=isinstance(item, str))

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
            session = Session(load_settings(**given), as_json)
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


def table(
    items: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, title: str | None = None
) -> Table:
    """Rows as a table; a column is a heading and a field name or a function of the row.
    A heading that ends in ``>`` is set to the right (numbers)."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for heading, _ in columns:
        made.add_column(
            heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold"
        )
    for item in items:
        made.add_row(*(_cell(read(item) if callable(read) else item.get(read)) for _, read in columns))
    return made


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
