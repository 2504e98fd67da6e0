"""The payment code is what segno makes, module by module, and its picture has every module on its place."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import segno

from invoicing.payment_code import payment_code_svg
from invoicing.qr_code import MASK, qr_modules

LONGEST_OF_TABLES = 180
"""Bytes that a code of version 9, level M, has room for."""


def of_segno(content: bytes) -> np.ndarray:
    made = segno.make_qr(content, error="m", boost_error=False, mode="byte", mask=MASK)
    return np.array(made.matrix, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 14, 15, 26, 27, 42, 43, 62, 63, 84, 106, 107, 122, 152, 180, 181, 331])
def test_every_version_is_what_segno_makes(count: int) -> None:
    """Around each number of bytes at which a larger code is needed, and beyond the tables."""
    content = random.Random(count).randbytes(count)
    assert np.array_equal(qr_modules(content), of_segno(content))


def test_random_contents_are_what_segno_makes() -> None:
    numbers = random.Random(1)
    for _ in range(60):
        content = numbers.randbytes(numbers.randint(1, LONGEST_OF_TABLES))
        assert np.array_equal(qr_modules(content), of_segno(content))


def test_the_picture_has_each_run_of_dark_modules_once() -> None:
    text = "BCD\n002\n1\nSCT\n\nGrößen GmbH\nDE89370400440532013000\nEUR3223.27\n\nRF09INV20250002000"
    svg = payment_code_svg(text)
    modules = of_segno(text.encode())
    drawn = np.zeros((len(modules) + 8, len(modules) + 8), dtype=np.uint8)
    for left, row, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", svg):
        drawn[int(row), int(left) : int(left) + int(length)] += 1
    assert np.array_equal(drawn, np.pad(modules, 4))
    assert f'viewBox="0 0 {len(drawn)} {len(drawn)}"' in svg
