"""Goal: the same lines in the same order with the same ids, whatever the order, threads and batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ingest.errors import BrokenState, InvalidInput
from rating.line_item import RATED_LINE_SCHEMA
from rating.price_plan import PricePlan
from tests.rating.plans import periods, plan, usage, usage_charge
from tests.rating.test_rate import FEE, PER_CALL, ids, rate


def test_lines_are_sorted_by_period_charge_and_dimensions() -> None:
    both = plan(usage_charge("hours", PER_CALL), FEE, usage_charge("calls", PER_CALL))
    table = usage((0, "calls", "1"), (0, "hours", "2"), (1, "calls", "3"), (1, "hours", "4"))
    assert ids(rate(periods({}, {}), table, both)) == [
        ("hours", 24), ("fee", 3100), ("calls", 12), ("hours", 48), ("fee", 3100), ("calls", 36),
    ]  # fmt: skip


def many(count: int) -> tuple[pa.Table, pa.Table, PricePlan]:
    rng = np.random.default_rng(7)
    rows = [
        (key, meter, str(rng.integers(0, 10**6)), int(rng.integers(1, 9)))
        for key in range(count)
        for meter in ("calls", "hours")
    ]
    table = periods(*({"contract_id": f"c{key}"} for key in range(count)))
    tiers = {"model": "graduated", "tiers": [{"up_to": "1000", "unit_price": "0.1"}, {"unit_price": "0.07"}]}
    return table, usage(*rows), plan(usage_charge("calls", tiers), usage_charge("hours", PER_CALL), FEE)


def test_the_same_input_gives_the_same_bytes_whatever_the_threads() -> None:
    table, used, gold = many(9000)
    one, two = (rate(table, used, gold, threads=threads).lines for threads in (1, 2))
    assert one.equals(two)


def test_ids_and_hashes_do_not_depend_on_the_batch_or_the_row_order() -> None:
    table, used, gold = many(50)
    whole = {row["line_id"]: row for row in rate(table, used, gold).lines.to_pylist()}
    assert len(whole) == 150
    turned = used.take(list(reversed(range(used.num_rows))))
    assert {row["line_id"]: row for row in rate(table, turned, gold).lines.to_pylist()} == whole
    alone = rate(periods({"contract_id": "c7"}), usage((0, "calls", "5")), gold).lines.to_pylist()
    same = next(row for row in whole.values() if row["contract_id"] == "c7" and row["charge_id"] == "calls")
    assert alone[0]["line_id"] == same["line_id"]
    assert alone[0]["input_hash"] != same["input_hash"]
    assert alone[1] == next(
        row for row in whole.values() if row["contract_id"] == "c7" and row["charge_id"] == "fee"
    )


def test_line_ids_stay_what_they_are() -> None:
    """Ids are stored for ever: a change of the hash would bill every open line a second time."""
    rated = rate(periods({}), usage((0, "calls", "250", 250)), plan(usage_charge("calls", PER_CALL)))
    (line,) = rated.lines.to_pylist()
    assert line["line_id"].hex() == "cb096f05555574adef599bae1e4d642e"
    assert line["input_hash"].hex() == "38d4b29567719d8c62c1169e463a7e3f"


def test_no_periods_give_no_lines() -> None:
    rated = rate(periods(), usage(), plan(FEE))
    assert (rated.lines.num_rows, rated.unrated.num_rows) == (0, 0)
    assert rated.lines.schema.equals(RATED_LINE_SCHEMA)


def test_a_period_on_an_unknown_version_stops_the_run() -> None:
    with pytest.raises(BrokenState, match="version 2 of price plan 'gold'"):
        rate(periods({"plan_version": 2}), usage(), plan(FEE))


def test_usage_of_an_unknown_period_stops_the_run() -> None:
    with pytest.raises(BrokenState, match="there are 1 periods"):
        rate(periods({}), usage((1, "calls", "5")), plan(usage_charge("calls", PER_CALL)))


def test_tables_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match="usage table has the columns"):
        rate(periods({}), usage().drop_columns(["quantity"]), plan(FEE))
    with pytest.raises(InvalidInput, match="0 <= days <= full_days"):
        rate(periods({"full_days": 5}), usage(), plan(FEE))


def test_a_minimum_spend_of_nothing_lets_a_period_come_to_less_than_nothing() -> None:
    gold = plan(usage_charge("hours", PER_CALL), minimum_spend="0")
    assert ids(rate(periods({}), usage((0, "hours", "-100")), gold)) == [("hours", -1200)]
    one_cent = plan(usage_charge("hours", PER_CALL), minimum_spend="0.01")
    raised = ids(rate(periods({}), usage((0, "hours", "-100")), one_cent))
    assert raised == [("hours", -1200), ("minimum-spend", 1201)]
