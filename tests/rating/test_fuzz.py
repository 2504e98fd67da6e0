"""Goal: the command that compares millions of cases compares, and finds a difference when there is one."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.rating import fuzz


@pytest.mark.requirement("RAT-01")
def test_a_few_cases_agree_and_the_kernels_did_most_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--cases", "3000", "--seed", "5"]) == 0
    assert "kernels, reference and verifier agree: 3,000 cases" in capsys.readouterr().out
    ((tally, wrong),) = fuzz.run(3000, 5)
    assert wrong == []
    assert tally["kernels"] > 2000
    assert min(tally["going on"], tally["amount_too_large"], tally["negative_quantity"]) > 50


def test_a_verifier_that_is_told_another_price_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    terms, cases = fuzz.random_block(random.Random(1), 300)
    plain = fuzz._terms_inputs
    monkeypatch.setattr(fuzz, "_terms_inputs", lambda entry: plain(replace(entry, maximum_amount=Decimal(0))))
    _, wrong = fuzz.check_block(terms, cases)
    assert len(wrong) > 100
    assert "verifier" in wrong[0]
