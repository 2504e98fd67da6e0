"""Goal: the picture of the payment code is read as what it says, to the byte."""

from __future__ import annotations

import re

import numpy as np
import pytest
import zxingcpp

from invoicing.payment_code import payment_code_svg

TRANSFER = "BCD\n002\n1\nSCT\n\n{}\nDE89370400440532013000\nEUR3223.27\n\nRF09INV20250002000"


@pytest.mark.parametrize("holder", ["A", "Größen GmbH", "Łódź Ω 株式会社", "N" * 70, "Ü" * 70])
def test_the_picture_is_read_as_what_it_says(holder: str) -> None:
    text = TRANSFER.format(holder)
    read = zxingcpp.read_barcode(_drawn(payment_code_svg(text)))
    assert read is not None
    assert read.bytes == text.encode()
    assert (read.format, read.ec_level) == (zxingcpp.BarcodeFormat.QRCode, "M")


def test_each_run_of_dark_modules_is_drawn_once_within_the_quiet_zone() -> None:
    drawn = np.zeros((200, 200), np.int64)
    for left, row, length in _runs(payment_code_svg(TRANSFER.format("A"))):
        drawn[row, left : left + length] += 1
    assert drawn.max() == 1
    assert not drawn[:4].any()
    assert not drawn[:, :4].any()


def _runs(svg: str) -> list[tuple[int, int, int]]:
    return [
        (int(left), int(row), int(length)) for left, row, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", svg)
    ]


def _drawn(svg: str) -> np.ndarray:
    """The picture, four dots a module."""
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    assert found is not None
    picture = np.full((int(found[1]), int(found[2])), 255, np.uint8)
    for left, row, length in _runs(svg):
        picture[row, left : left + length] = 0
    return np.kron(picture, np.ones((4, 4), np.uint8))
