"""Goal: every supply gets the category and rate its law gives it, and what is not known is never 0."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from ingest.document import read_documents, validate_document
from ingest.errors import Issue
from invoicing.tax_decision import SavedRates, TaxBuyer, TaxDecision, TaxQuestion, TaxSeller
from invoicing.tax_rates import EXAMPLES, TaxRates, example_tax_rates, tax_rates_rules

RATES = {
    str(entry["tax_rates_id"]): validate_document(TaxRates, entry, what="rates", rules=tax_rates_rules)
    for entry in read_documents(EXAMPLES.read_bytes())
}
DE_ID, FR_ID, AT_ID = "DE136695976", "FR83404833048", "ATU57194903"

CASES = """
at home, business           | DE     | DE business -          | standard | 2026-03-31 | S 19
at home, reduced            | DE     | DE business -          | reduced  | 2026-03-31 | S 7
at home in autumn 2020      | DE     | DE business -          | standard | 2020-12-31 | S 16
at home a day later         | DE     | DE business -          | standard | 2021-01-01 | S 19
at home, status not known   | DE     | DE - -                 | goods    | 2026-03-31 | S 19
EU business, services       | DE     | FR business FR83404833048 | standard | 2026-03-31 | AE 0
EU business by its number   | DE     | FR - FR83404833048     | standard | 2026-03-31 | AE 0
EU business, goods          | DE     | AT business ATU57194903 | goods   | 2026-03-31 | K 0
EU consumer, seller's rate  | DE     | FR consumer -          | standard | 2026-03-31 | S 19
EU consumer, one stop shop  | DE oss | FR consumer -          | standard | 2026-03-31 | S 20
EU consumer, reduced, OSS   | DE oss | FR consumer -          | reduced  | 2026-03-31 | S 5.5
export of goods             | DE     | US business -          | goods    | 2026-03-31 | G 0
services outside the EU     | DE     | CH business -          | standard | 2026-03-31 | O 0
Swiss at home in 2023       | CH     | CH business -          | standard | 2023-12-31 | S 7.7
Swiss at home in 2024       | CH     | CH business -          | standard | 2024-01-01 | S 8.1
British zero rate           | GB     | GB consumer -          | zero     | 2026-03-31 | Z 0
British seller, EU business | GB     | DE business DE136695976 | standard | 2026-03-31 | O 0
United States               | US     | US business -          | standard | 2026-03-31 | O 0
exempt at home              | DE     | DE exempt -            | standard | 2026-03-31 | E 0
prepaid credit              | DE     | FR business FR83404833048 | credit | 2026-03-31 | E 0
small business at home      | DE none | DE business -         | standard | 2026-03-31 | E 0
EU business, no number      | DE     | FR business -          | standard | 2026-03-31 | tax_id_missing
EU, status not known        | DE     | FR - -                 | standard | 2026-03-31 | tax_id_missing
EU business, wrong state    | DE     | FR business DE136695976 | standard | 2026-03-31 | tax_id_invalid
EU business, bad digit      | DE     | FR business FR84404833048 | standard | 2026-03-31 | tax_id_invalid
no rate on that day         | DE     | DE business -          | standard | 2006-12-31 | tax_rate_missing
no rate of that class       | DE     | DE business -          | books    | 2026-03-31 | tax_rate_missing
no rates of that country    | BE     | BE business -          | standard | 2026-03-31 | tax_rates_missing
OSS, no rates there         | DE oss | IT consumer -          | standard | 2026-03-31 | tax_rates_missing
no country                  | DE     | - business -           | standard | 2026-03-31 | tax_country_missing
"""


def question(seller: str, buyer: str, tax_class: str, day: str) -> TaxQuestion:
    country, *more = seller.split()
    place, status, tax_id = ("" if word == "-" else word for word in buyer.split())
    return TaxQuestion(
        TaxSeller(
            country=country,
            tax_id=DE_ID,
            oss="oss" in more,
            no_tax_reason="Kein Ausweis von Umsatzsteuer, § 19 UStG" if "none" in more else "",
        ),
        TaxBuyer("acme", place, tax_id, status, "Exempt: Art. 132" if status == "exempt" else ""),
        tax_class,
        date.fromisoformat(day),
    )


@pytest.mark.requirement("TAX-01")
@pytest.mark.parametrize("case", CASES.strip().splitlines(), ids=lambda case: case.split("|")[0].strip())
def test_the_table_of_supplies(case: str) -> None:
    _, seller, buyer, tax_class, day, expected = (part.strip() for part in case.split("|"))
    answer = SavedRates(RATES).decide(question(seller, buyer, tax_class, day))
    if isinstance(answer, Issue):
        assert (answer.reason_code, bool(answer.expected)) == (expected, True)
    else:
        category, percent = expected.split()
        assert (answer.category, answer.percent) == (category, Decimal(percent))
        assert bool(answer.reason) == (category in {"E", "AE", "K", "G", "O"})


def test_without_the_words_of_the_law_no_tax_is_waived() -> None:
    bare = RATES["DE"].model_copy(update={"treatments": ()})
    answer = SavedRates({"DE": bare}).decide(question("DE", f"FR business {FR_ID}", "standard", "2026-01-31"))
    assert isinstance(answer, Issue)
    assert answer.reason_code == "tax_treatment_missing"


def test_rates_of_a_region_come_before_those_of_its_country() -> None:
    region = RATES["US"].model_copy(
        update={
            "region": "TX",
            "rates": (RATES["DE"].rates[2].model_copy(update={"percent": Decimal("6.25")}),),
        }
    )
    asked = question("US", "US business -", "standard", "2026-01-31")
    in_texas = TaxQuestion(TaxSeller("US", "TX"), asked.buyer, "standard", asked.tax_date)
    found = SavedRates(RATES | {"US-TX": region}).decide(in_texas)
    assert found == TaxDecision("S", Decimal("6.25"))


RULES = """
tax_percent        | {tax_class: a, category: S, percent: 0, valid_from: 2020-01-01}
tax_percent        | {tax_class: a, category: Z, percent: 5, valid_from: 2020-01-01}
tax_percent        | {tax_class: a, percent: 19.12345, valid_from: 2020-01-01}
tax_reason_missing | {tax_class: a, category: AE, percent: 0, valid_from: 2020-01-01}
tax_rate_days      | {tax_class: a, percent: 19, valid_from: 2020-01-01, valid_until: 2020-01-01}
tax_rate_twice     | {tax_class: b, percent: 19, valid_from: 2021-01-01}
"""


@pytest.mark.parametrize("case", RULES.strip().splitlines())
def test_rules_of_tax_rates(case: str) -> None:
    code, text = (part.strip() for part in case.split("|"))
    [rate] = read_documents(f"rates: [{text}]")[0]["rates"]
    other = {"tax_class": "b", "percent": 7, "valid_from": "2020-01-01"}
    document = TaxRates.model_validate({"tax_rates_id": "DE", "country": "DE", "rates": [other, rate]})
    assert [issue.reason_code for issue in tax_rates_rules(document)] == [code]


def test_examples_are_given_by_name_and_never_by_themselves() -> None:
    assert [entry["country"] for entry in example_tax_rates(["AT", "FR"])] == ["AT", "FR"]
    with pytest.raises(Exception, match="no example tax rates of XX"):
        example_tax_rates(["XX"])
