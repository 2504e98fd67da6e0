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
CON-01 CON-02 CON-03 CON-04 CON-05 CON-06 CON-07 CON-08 CON-09 CON-10 CON-11
CON-12 CON-13 CON-14 CON-15 CON-16 CON-17 CON-18 CON-19 CON-20 CON-21
RAT-01 RAT-02 RAT-03 RAT-04 RAT-05 RAT-06 RAT-07 RAT-08 RAT-09 RAT-10
GEN-01 GEN-02 GEN-03 GEN-04 GEN-05 GEN-06 GEN-07 GEN-08
GEN-09 GEN-10 GEN-11 GEN-12 GEN-13 GEN-14 GEN-15 GEN-16
APP-01 APP-02 APP-03 APP-04 APP-05 APP-06 APP-07 APP-08 APP-09
DEL-01 DEL-02 DEL-03 DEL-04 DEL-05 DEL-06 DEL-07 DEL-08 DEL-09 DEL-10 DEL-11 DEL-12 DEL-13
TAX-01 TAX-02 TAX-03 TAX-04 TAX-05 TAX-06 TAX-07 TAX-08
POR-02 PAY-08 PAY-09 HLD-04
REP-01 REP-04 REP-11 REP-14
AUD-01 AUD-02 AUD-03 AUD-04 AUD-09 AUD-11 AUD-12
CRM-01 CRM-02 CRM-03 CRM-04 CRM-05
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
