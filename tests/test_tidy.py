"""The house lints itself: banned calls with their replacement, function and module length.

The length rules work by ratchet: what is over the limit today stands in ALLOWED with its size and
may only shrink.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("ingest", "rollup", "rating", "invoicing", "api")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400

BANNED = (
    (r"\bfloat\(", "Decimal, or an integer scaled by 10**12", ROOMS),
    (r"pl\.Float(32|64)|pa\.float(32|64)|np\.float(32|64)", "decimal128(38, 12) or int64", ROOMS[:4]),
    (r"datetime\.(now|utcnow|today)\(|date\.today\(|time\.time\(", "a Clock passed in", ROOMS),
    (r"\bTODO\b|\bFIXME\b|\bXXX\b", "an issue", ROOMS),
    (r"^\s*assert\b", "an `if` that raises BrokenState (python -O drops assert)", ROOMS),
    (r"except\s*:|except BaseException\s*:\s*pass", "the exception that is meant", ROOMS),
)
ALLOWED_CALLS = {
    ("ingest/clock.py", "datetime.now("),
    ("api/demo/story.py", "float("),  # seconds a stage took
}


def _sources(rooms: tuple[str, ...]) -> Iterator[Path]:
    for room in rooms:
        paths = sorted((ROOT / room).rglob("*.py"))
        yield from (path for path in paths if "migrations" not in path.parts)


def test_no_banned_calls() -> None:
    found = []
    for pattern, replacement, rooms in BANNED:
        for path in _sources(rooms):
            name = str(path.relative_to(ROOT))
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = re.search(pattern, line)
                if match and (name, match.group()) not in ALLOWED_CALLS:
                    found.append(f"{name}:{number}: {match.group()} - use {replacement}")
    assert not found, "\n".join(found)


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature's and docstring's lines."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1


def test_functions_are_short() -> None:
    long = []
    for path in _sources((*ROOMS, "benchmarks", "tests")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if _code_lines(node) > FUNCTION_LINES_MAX:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {_code_lines(node)} lines")
    assert not long, "\n".join(long)


def test_modules_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in _sources((*ROOMS, "benchmarks"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_large_files() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes"
        for room in (*ROOMS, "benchmarks", "tests", "docs")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size > 262_144
    ]
    assert not large, "\n".join(large)


def test_every_public_function_has_a_docstring() -> None:
    bare = []
    for path in _sources(ROOMS[:4]):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                decorated = any("validator" in ast.unparse(d) for d in node.decorator_list)
                if not decorated and not ast.get_docstring(node):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not bare, "say what it takes, gives and raises:\n" + "\n".join(bare)
