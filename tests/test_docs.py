"""Goal: the documents cannot fall behind the code, and what they tell people to type exists.

Every setting, reason code, route and command must be in docs/reference.md; every `ratemill` command
line and every route that a page shows must be one the program knows; every link must lead somewhere.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from api import reference
from api.cli import build_cli
from api.settings import settings_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "ingest/*.md",
        "rollup/*.md",
        "rating/*.md",
        "invoicing/*.md",
        "api/*.md",
    )
    for path in ROOT.glob(pattern)
)
TUTORIALS = [ROOT / "README.md", ROOT / "docs" / "tour.md"]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_reference_page_is_what_the_code_says() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), (
        "docs/reference.md is out of date; write it again with `python -m api.reference`"
    )


def test_the_reference_names_everything() -> None:
    """Against a generator that quietly finds nothing."""
    text = reference.PAGE.read_text(encoding="utf-8")
    names = [
        *(setting.name for setting in settings_table()),
        *(route.path for route in reference.routes()),
        *(command.command for command in reference.commands()),
        *(code.code for code in reference.reason_codes()),
    ]
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing
    for known in ("RATEMILL_DATA", "/v1/events", "ratemill ingest", "time_without_zone", "key_missing"):
        assert f"`{known}`" in text


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_inside_the_house_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [target for target in targets if not (page.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("page", TUTORIALS, ids=_name)
def test_commands_in_tutorials_exist_with_their_options(page: Path) -> None:
    problems = []
    for line in _command_lines(page):
        problem = _problem_with(shlex.split(line, comments=True)[1:])
        if problem:
            problems.append(f"{line!r}: {problem}")
    assert not problems
    assert _command_lines(page), f"{page.name} shows no command at all; does the search still work?"


@pytest.mark.parametrize("page", TUTORIALS, ids=_name)
def test_routes_in_tutorials_exist(page: Path) -> None:
    known = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", route.path) + "$") for route in reference.routes()]
    shown = re.findall(r"http://127\.0\.0\.1:8787(/v1/[^\s\"'?]+)", page.read_text(encoding="utf-8"))
    assert shown
    assert [path for path in shown if not any(route.match(path) for route in known)] == []


def _command_lines(page: Path) -> list[str]:
    """Every `ratemill ...` call in the page's sh blocks, one a line; a heredoc or pipe ends the call."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    calls = re.findall(r"(?:^|\$\(|\| )(ratemill [^\n|)]*)", text, flags=re.MULTILINE)
    return [re.split(r"\s(?:<<|<|>|&)", call)[0].strip() for call in calls]


def _problem_with(words: list[str]) -> str:
    command = typer.main.get_command(build_cli())
    name = "ratemill"
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return f"{name} has no command {words[0]!r}"
        command = command.commands[words[0]]
        name = f"{name} {words.pop(0)}"
    options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    unknown = [
        word for word in words if word.startswith("--") and word.split("=")[0] not in options | {"--help"}
    ]
    return f"{name} has no option {unknown}" if unknown else ""
