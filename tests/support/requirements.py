"""``python -m tests.support.requirements``: every requirements row and how many tests show it.

A test shows a row with ``@pytest.mark.requirement("MET-01")``. Rows are known from the markers
alone, so a row without a test does not appear; the list of wanted rows stands in WANTED.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from typing import Any, Final

import pytest

WANTED: Final = """
MET-01 MET-02 MET-03 MET-04 MET-05 MET-06 MET-07 MET-08 MET-09 MET-10 MET-11 MET-12
CON-01 CON-02 CON-03 CON-04 CON-05 CON-06 CON-07 CON-08 CON-12 CON-13 CON-14 CON-15 CON-16 CON-19
RAT-01 RAT-02 RAT-03 RAT-04 RAT-05 RAT-06 RAT-07 RAT-08 RAT-09 RAT-10
GEN-01 GEN-03
POR-02 PAY-09 HLD-04
REP-14
AUD-02 AUD-04 AUD-09
"""
"""Rows whose step is done; ``make requirements`` ends with an error when one has no test."""


class _Collector:
    def __init__(self) -> None:
        self.tests_by_row: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            for marker in item.iter_markers("requirement"):
                self.tests_by_row.update(marker.args)


def count_tests() -> Counter[str]:
    """Requirements row -> number of tests marked with it, by collecting the suite."""
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(["--collect-only", "-q", "-p", "no:randomly"], plugins=[collector])
    if code != pytest.ExitCode.OK:
        raise SystemExit(output.getvalue())
    return collector.tests_by_row


def main() -> int:
    tests_by_row = count_tests()
    for row in sorted({*WANTED.split(), *tests_by_row}):
        sys.stdout.write(f"{row} {tests_by_row[row]}\n")
    missing = [row for row in WANTED.split() if not tests_by_row[row]]
    if missing:
        sys.stdout.write(f"no test shows: {' '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
