"""Goal: the worked examples of docs/pricing.md are true, and the page speaks of everything there is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any, get_args

import pytest

from ingest.document import read_document, read_documents, validate_document
from ingest.meter import Meter
from rating.batch import UNRATED_CODES
from rating.price import price_request
from rating.price_plan import Charge, Price, PricePlan
from rating.steps import STEPS
from rollup.meter_rules import all_meter_rules

PAGE = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
PEERS = (
    "Lago", "OpenMeter", "Kill Bill", "CGRateS", "CloudKitty", "Stripe", "Orb", "Metronome", "Zuora", "m3ter",
    "Chargebee", "Flexprice", "Meteroid", "AWS", "Twilio", "OpenAI",
)  # fmt: skip
MODEL_TYPES = {
    "Lago": "standard, graduated, graduated_percentage, package, percentage, volume, dynamic, custom",
    "OpenMeter": "flat, unit, tiered_graduated, tiered_volume, dynamic, package",
    "Kill Bill": "fixed, recurring, consumable, capacity, ALL_TIERS, TOP_TIER",
    "Stripe": "per_unit, tiers, graduated, volume, transform_quantity, licensed, custom_unit_amount",
    "Orb": "bulk, bulk_with_filters, bulk_with_proration, cumulative_grouped_allocation, "
    "cumulative_grouped_bulk, daily_credit_allowance, event_output, grouped_allocation, grouped_tiered, "
    "grouped_tiered_matrix, grouped_tiered_package, grouped_with_metered_minimum, "
    "grouped_with_min_max_thresholds, grouped_with_prorated_minimum, matrix, matrix_with_allocation, "
    "matrix_with_display_name, matrix_with_threshold_discounts, max_group_tiered_package, "
    "metered_allowance, minimum_composite, package, package_with_allocation, percent, "
    "scalable_matrix_with_tiered_pricing, scalable_matrix_with_unit_pricing, threshold_total_amount, tiered, "
    "tiered_matrix_with_allocation, tiered_package, tiered_package_with_minimum, tiered_with_minimum, "
    "tiered_with_proration, unit, unit_with_percent, unit_with_proration",
    "Metronome": "flat, percentage, subscription, tiered, tiered_percentage, custom",
    "Zuora": "flat_fee, per_unit, overage, volume, tiered, tiered_with_overage, discount, multi_attribute, "
    "pre_rated, high_water_mark, delivery, calculated",
    "m3ter": "band, cumulative, segments, minimum_spend, compound, tiersspanplan, overage_bands, credit",
    "Chargebee": "flat_fee, per_unit, tiered, volume, stairstep, package",
    "Flexprice": "flat_fee, package, tiered, slab, volume, sum_with_multiplier, max, weighted_sum",
    "Meteroid": "rate, slot, capacity, per_unit, tiered, volume, package, matrix, recurring, one_time",
}
"""What each calls its price models in its public API or SDK, read in November 2026 (Orb 4.90, Zuora 3.21,
Metronome 4.12, m3ter 0.9 and Chargebee 3.29 are versions of Python packages)."""
PEER_SECTION = re.compile(
    r"^### (.+)\n\n\| there \| here \| example \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", re.M
)
VALUES = re.compile(r"values ((?:-?[\d.]+ )+)= (-?[\d.]+)$")
LEVELS = re.compile(r"levels((?: [\d.]+x\d+)+) = (-?[\d.]+)$")
METERS = re.compile(r"with((?: \w+=[\d.]+)+) = (-?[\d.]+)$")
WIDER = re.compile(r"([\d.]+) (?:before ([\d.]+)|pool((?: [\d.]+)+))((?: \w+=[\w.]+)*) = (-?[\d.]+)$")
LINE = re.compile(r"(-?[\d.]+)(?: events (\d+))?(?: days (\d+)/(\d+))?((?: \w+=[\w.]+)*) = (-?[\d.]+)$")


def examples() -> list[tuple[dict[str, Any], str]]:
    return [
        (read_document(charge), line)
        for charge, lines in EXAMPLE.findall(PAGE)
        for line in lines.strip().splitlines()
    ]


def peer_rows() -> list[tuple[str, str, str, str]]:
    """(peer, what is there, the charge, the examples or nothing) of every row of the tables of peers."""
    found = []
    for peer, rows in PEER_SECTION.findall(PAGE):
        for row in rows.strip().splitlines():
            there, here, lines = (cell.strip() for cell in row.strip("|").split("|"))
            found.append((peer, there, here, lines))
    return found


def peer_examples() -> list[tuple[dict[str, Any], str]]:
    return [
        (read_document("---\n" + charge.strip("`")), line)
        for _, _, charge, lines in peer_rows()
        if charge.startswith("`{")
        for line in re.findall(r"`([^`]+)`", lines)
    ]


def check(charge: dict[str, Any], line: str) -> None:
    events = VALUES.match(line)
    if events:
        sent = [{"value": value} for value in events[1].split()]
        assert price_request({"charge": charge, "currency": "EUR", "events": sent})["billed"] == events[2]
        return
    levels = LEVELS.match(line)
    if levels:
        stood = [dict(zip(("level", "days"), one.split("x"), strict=True)) for one in levels[1].split()]
        request = {"charge": charge, "currency": "EUR", "levels": stood}
        assert price_request(request)["billed"] == levels[2]
        return
    meters = METERS.match(line)
    if meters:
        used = dict(pair.split("=") for pair in meters[1].split())
        assert price_request({"charge": charge, "currency": "EUR", "meters": used})["billed"] == meters[2]
        return
    wider = WIDER.match(line)
    if wider:
        more: dict[str, Any] = {"before": {"quantity": wider[2]}} if wider[2] else {"pool": wider[3].split()}
        more["dimensions"] = dict(pair.split("=") for pair in wider[4].split())
        request = {"charge": charge, "currency": "EUR", "quantity": wider[1], **more}
        assert price_request(request)["billed"] == wider[5]
        return
    found = LINE.match(line)
    assert found, f"not an example line: {line!r}"
    quantity, count, days, full_days, dimensions, expected = found.groups()
    asked = {
        "charge": charge,
        "currency": "EUR",
        "quantity": quantity,
        "event_count": int(count or 1),
        "days": int(days or 1),
        "full_days": int(full_days or 1),
        "dimensions": dict(pair.split("=") for pair in dimensions.split()),
    }
    if charge["price"]["model"] == "capacity":
        asked["meter"] = {"aggregation": "max"}
    assert price_request(asked)["billed"] == expected


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize(("charge", "line"), examples())
def test_every_example_comes_out_as_written(charge: dict[str, Any], line: str) -> None:
    check(charge, line)


@pytest.mark.requirement("RAT-10")
@pytest.mark.parametrize(("charge", "line"), peer_examples())
def test_what_another_product_prices_comes_out_as_written(charge: dict[str, Any], line: str) -> None:
    check(charge, line)


@pytest.mark.requirement("RAT-10")
def test_every_peer_has_its_table_and_every_row_says_how_or_why_not() -> None:
    assert tuple(dict.fromkeys(peer for peer, *_ in peer_rows())) == PEERS
    for peer, there, here, lines in peer_rows():
        in_words = here.startswith(("no: see [What no plan expresses]", "the plan's `"))
        assert there, peer
        assert in_words or here.startswith("`{"), (peer, there)
        assert in_words == (lines == ""), (peer, there)


@pytest.mark.requirement("RAT-10")
@pytest.mark.parametrize("peer", MODEL_TYPES)
def test_every_price_model_of_a_peer_has_a_row(peer: str) -> None:
    def plain(text: str) -> str:
        return text.lower().replace("_", " ").replace("-", " ")

    rows = [plain(there) for name, there, *_ in peer_rows() if name == peer]
    wanted = [plain(one) for one in MODEL_TYPES[peer].split(", ")]
    assert [one for one in wanted if not any(one in row for row in rows)] == []


def test_the_meters_of_the_page_can_be_saved() -> None:
    (block,) = re.findall(r"^    meter_id: (?:.+\n)+", PAGE, re.MULTILINE)
    meters = read_documents(textwrap.dedent(block))
    assert len(meters) == 2
    for document in meters:
        validate_document(Meter, document, what="meter", rules=all_meter_rules)


def test_the_page_has_an_example_of_every_model() -> None:
    models = {get_args(model.model_fields["model"].annotation)[0] for model in get_args(get_args(Price)[0])}
    assert {charge["price"]["model"] for charge, _ in examples()} == models
    assert len(models) == 11


def test_the_page_names_every_step_reason_and_setting() -> None:
    for code in (*UNRATED_CODES.values(), "no_matching_cell"):
        assert f"`{code}`" in PAGE
    for name in ("unit_conversion", "free_units", "minimum_amount", "maximum_amount", "zero_usage"):
        assert name in Charge.model_fields
        assert f"{name}:" in PAGE
    assert {"minimum_spend", "rounding", "effective_from"} <= set(PricePlan.model_fields)
    assert len(re.findall(r"^\d+\. \*\*", PAGE, re.MULTILINE)) == len(STEPS)
