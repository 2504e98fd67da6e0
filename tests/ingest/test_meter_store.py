"""Goal: a meter on record is the meter that was saved, and cannot be changed."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ingest.errors import Conflict, NotFound
from ingest.meter import Meter, MeterFilter
from ingest.meter_store import get_meter, list_meters, save_meter
from tests.ingest.support import NOW

CALLS = Meter(
    meter_id="calls",
    event_type="api.call",
    aggregation="sum",
    factors=("value", "properties.weight"),
    filters=(MeterFilter(property="region", values=("eu", "us"), negate=True),),
    group_by=("region",),
)


def test_a_saved_meter_comes_back_whole(ledger: Engine) -> None:
    assert save_meter(ledger, CALLS, now=NOW)
    assert get_meter(ledger, "calls") == CALLS


def test_saving_it_again_changes_nothing(ledger: Engine) -> None:
    save_meter(ledger, CALLS, now=NOW)
    assert not save_meter(ledger, CALLS, now=NOW)
    assert list_meters(ledger) == (CALLS,)


def test_another_definition_is_a_conflict(ledger: Engine) -> None:
    save_meter(ledger, CALLS, now=NOW)
    with pytest.raises(Conflict, match="under a new meter_id"):
        save_meter(ledger, CALLS.model_copy(update={"fraction_digits": 2}), now=NOW)
    assert get_meter(ledger, "calls") == CALLS


def test_meters_are_listed_by_id(ledger: Engine) -> None:
    for meter_id in ("b", "a", "c"):
        save_meter(ledger, CALLS.model_copy(update={"meter_id": meter_id}), now=NOW)
    assert [meter.meter_id for meter in list_meters(ledger)] == ["a", "b", "c"]


def test_an_unknown_meter_is_not_found(ledger: Engine) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        get_meter(ledger, "nothing")
