"""One system's part of one case, in this process alone: ``python -m benchmarks.case`` (see ``run.py``).

Every system has a process of its own because chDB allows one engine a process and because peak
memory is a figure of a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from benchmarks.request import CaseRequest
from benchmarks.result import case_result


def main(arguments: list[str]) -> None:
    """Arguments: ``load`` or ``run``, ``module:function``, the request as JSON, the answer's file."""
    phase, function, text, answer = arguments
    request = read_request(text)
    if phase == "load":
        _function(function)(request)
        os.sync()  # or the disk is still busy with what is not timed while somebody is
        return
    done = _function(function)(request)
    Path(answer).write_bytes(case_result(request, done).to_json())


def request_text(request: CaseRequest) -> str:
    """The request as JSON, paths as text."""
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    return orjson.dumps(values, default=str).decode()


def read_request(text: str) -> CaseRequest:
    """The request back from its JSON."""
    values = orjson.loads(text)
    values["data"], values["work"] = Path(values["data"]), Path(values["work"])
    interpreter = values["cloudkitty_python"]
    values["cloudkitty_python"] = None if interpreter is None else Path(interpreter)
    return CaseRequest(**values)


def _function(name: str) -> Callable[[CaseRequest], Any]:
    module, _, attribute = name.partition(":")
    function: Callable[[CaseRequest], Any] = getattr(import_module(f"benchmarks.{module}"), attribute)
    return function


if __name__ == "__main__":
    main(sys.argv[1:])
