"""Writes docs/reference.md: every setting, command, route and reason code, drawn from the code itself.

    python -m api.reference            # writes the page
    python -m api.reference --check    # exits 1 when the page is not what the code says

``tests/test_docs.py`` runs the check, so the page cannot go stale. A reason code is found where it
is used: ``Issue("code", ...)`` or ``reason_code="code"`` in a call, ``reason_code = "code"`` in an exception.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer.main
from fastapi.routing import APIRoute

from api.cli import build_cli
from api.settings import settings_table
from ingest.refusal import REASON_CODES
from invoicing.period_classes import PERIOD_REASONS
from rollup.completeness import OUTCOME_REASONS

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "reference.md"
ROOMS: Final = ("ingest", "rollup", "rating", "invoicing", "api")

_PLACES: Final = {"Issue": (0, 2), "Problem": (0, 2), "Held": (2, 3), "problem": (1, 2)} | dict.fromkeys(
    ("Refused", "TryAgain", "Unclear"), (0, 1)
)
"""Calls that take a reason code by position: its place, and where the sentences begin."""
_CODE_TABLES: Final = frozenset({"UNRATED_CODES", "REASONS"})
"""Constants that map a number to a reason code."""
_IN_SQL: Final = re.compile(r"'([a-z]+(?:_[a-z]+)+)'")
UNCOUNTED: Final = {
    "value_missing": "The meter counts the value, and the event has none.",
    "factor_missing": "The event lacks a property that the meter multiplies by.",
    "factor_not_a_number": "A property that the meter multiplies by is not a decimal number.",
    "product_too_precise": "The product of the factors has more than 12 fraction digits.",
    "product_too_large": "The product of the factors is larger than a quantity can be.",
    "unique_property_missing": "The event lacks the property whose values are counted.",
    "unknown_operation": "The operation of a licence event is not set, add or remove.",
    "level_below_zero": "More was removed than there was.",
    "negative_quantity": "The quantity is negative and the price model has no meaning for that.",
    "amount_too_large": "The quantity comes to an amount too large to keep exactly.",
}
"""Codes that rollup and rating write in SQL or as numbers, where no sentence stands beside them."""

_WORDED: Final = (
    (REASON_CODES, "ingest/refusal.py"),
    (OUTCOME_REASONS, "rollup/completeness.py"),
    (PERIOD_REASONS, "invoicing/period_classes.py"),
)
"""Tables of codes with their sentences, and the files they stand in."""
_SHARED_OPTIONS: Final = frozenset({"--server", "--key", "--data", "--json"})
_ABOUT_COMMANDS: Final = (
    "`ratemill COMMAND --help` says more. All but `demo` also take `--server`, `--key`, `--data` and "
    "`--json` (the API's answer and nothing else). A command talks to `--server` or `RATEMILL_SERVER` if "
    "given, to the server that owns the data folder if there is one, and opens the folder itself otherwise."
)
_ABOUT_ROUTES: Final = (
    "Keys go into `Authorization: Bearer rm_...`, or are the user of HTTP Basic; "
    "the scope `admin` implies all others. Errors are RFC 9457 "
    "problem documents. `GET /openapi.json` has every body with an example."
)
_ABOUT_REASON_CODES: Final = (
    "Stable words for programs, in `reason_code` of a problem, an issue, a refused event or a part of a "
    "report; … stands for what is filled in."
)


class ReasonCode(NamedTuple):
    """A reason code, the file that uses it, and its sentence with … for what is filled in."""

    code: str
    file: str
    words: str


class RouteRow(NamedTuple):
    """A route as a caller sees it; ``scope`` is empty for routes without a key."""

    method: str
    path: str
    scope: str
    summary: str


class CommandRow(NamedTuple):
    """A command with its arguments and options, as one types it."""

    command: str
    usage: str
    help: str


def reason_codes(root: Path = ROOT) -> list[ReasonCode]:
    """All reason codes of the product, sorted; one row a code and file.

    A code of ``ingest.refusal.REASON_CODES`` has its one meaning there, and one row; those of the
    completeness report stand in tables of their own.
    """
    found: dict[tuple[str, str], ReasonCode] = {
        (code, file): ReasonCode(code, file, words)
        for table, file in _WORDED
        for code, words in table.items()
    }
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for code, words in _codes_in(ast.parse(path.read_text(encoding="utf-8"))):
                known = found.get((code, file))
                if room == "ingest" and code in REASON_CODES:
                    continue
                if known is None or (words and not known.words):
                    found[code, file] = ReasonCode(code, file, words)
    return sorted(found.values())


def routes() -> list[RouteRow]:
    """Every route of the application, sorted by path and method."""
    from api.routes import ROUTERS  # noqa: PLC0415 - loads every room, which the rest does not need
    from api.routes.events import INGEST_OPENAPI, INGEST_PATH  # noqa: PLC0415

    rows = [RouteRow("POST", INGEST_PATH, INGEST_OPENAPI.get("x-scope", ""), INGEST_OPENAPI["summary"])]
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                scope = (route.openapi_extra or {}).get("x-scope") or ""
                rows += [
                    RouteRow(method, route.path, scope, route.summary or "") for method in route.methods or ()
                ]
    return sorted(rows, key=lambda row: (row.path, row.method))


def commands() -> list[CommandRow]:
    """Every command of ``ratemill``, in the order its help shows them."""
    return list(_commands_of(typer.main.get_command(build_cli()), "ratemill"))


def page() -> str:
    """The text of docs/reference.md."""
    settings = ((f"`{row.name}`", _code(row.default), row.help) for row in settings_table())
    typed = ((f"`{row.command}`", _code(row.usage), row.help) for row in commands())
    called = ((row.method, f"`{row.path}`", row.scope or "none", row.summary) for row in routes())
    said = ((f"`{row.code}`", row.words, f"`{row.file}`") for row in reason_codes())
    parts = [
        "# Reference",
        "Written by `python -m api.reference` from the code; do not edit it by hand.",
        "## Settings",
        "Environment variables, read once at the start of a process.",
        _table(("name", "default", "what it does"), settings),
        "## Commands",
        _ABOUT_COMMANDS,
        _table(("command", "arguments and options", "what it does"), typed),
        "## Routes",
        _ABOUT_ROUTES,
        _table(("method", "path", "scope", "what it does"), called),
        "## Reason codes",
        _ABOUT_REASON_CODES,
        _table(("reason code", "says", "file"), said),
    ]
    return "\n\n".join(parts) + "\n"


def _codes_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _codes_of_call(node)
        elif isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and _names(statement.targets) == ["reason_code"]:
                    code = _text(statement.value)
                    if code:
                        yield code, (ast.get_docstring(node) or "").split("\n\n")[0]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            if _CODE_TABLES.intersection(_names([node.target])):
                yield from ((_text(value), UNCOUNTED.get(_text(value), "")) for value in node.value.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((code, UNCOUNTED[code]) for code in _IN_SQL.findall(node.value) if code in UNCOUNTED)


def _codes_of_call(call: ast.Call) -> Iterator[tuple[str, str]]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    called = call.func.id if isinstance(call.func, ast.Name) else ""
    place, words_from = _PLACES.get(called, (0, 0))
    if called in _PLACES and len(call.args) > place and _is_code(call.args[place]):
        yield _text(call.args[place]), " Expected: ".join(filter(None, map(_text, call.args[words_from:])))
    elif "reason_code" in given and _is_code(given["reason_code"]):
        message = given.get("message") or (call.args[0] if call.args else None)
        yield _text(given["reason_code"]), _text(message) if message is not None else ""


def _is_code(node: ast.expr) -> bool:
    text = _text(node)
    return bool(text) and text.isidentifier() and text.islower()


def _names(targets: Iterable[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _text(node: ast.expr) -> str:
    """The words of a literal or f-string; "" for anything computed."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) if isinstance(value, ast.Constant) else "…" for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
    return ""


def _commands_of(command: Any, name: str) -> Iterator[CommandRow]:
    if command.hidden:
        return
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        shared = {option for parameter in command.params for option in parameter.opts} >= _SHARED_OPTIONS
        usage = " ".join(
            _parameter(parameter)
            for parameter in command.params
            if not (shared and _SHARED_OPTIONS.intersection(parameter.opts))
        )
        yield CommandRow(name, usage.strip(), (command.help or "").split("\n\n")[0].replace("\n", " "))
    for child, nested in children.items():
        yield from _commands_of(nested, f"{name} {child}")


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        word = (parameter.metavar or parameter.name).upper()
        many = " ..." if parameter.nargs == -1 else ""
        return f"{word}{many}" if parameter.required else f"[{word}{many}]"
    flag: str = max(parameter.opts, key=len)
    word = flag if parameter.is_flag else f"{flag} {flag.lstrip('-').upper().replace('-', '_')}"
    return word if parameter.required else f"[{word}]"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check compare it; the exit code."""
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
