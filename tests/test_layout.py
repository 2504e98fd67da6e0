"""The rooms imported are this checkout's: other packages install top-level names like ``api`` too."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ingest", "rollup", "rating", "invoicing", "api", "benchmarks")


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_this_checkout(room: str) -> None:
    module = importlib.import_module(room)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / room


@pytest.mark.parametrize("room", ROOMS)
def test_room_has_a_page_and_types(room: str) -> None:
    page = (ROOT / room / "README.md").read_text(encoding="utf-8")
    assert len(page) > 400, f"{room}/README.md should say what the room takes, gives, owns and does not own"
    assert (ROOT / room / "py.typed").exists()
