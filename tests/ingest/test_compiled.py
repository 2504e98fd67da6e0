"""Goal: warming up compiles every kernel for good: no batch of any shape makes numba compile again,
which would stop a request for seconds."""

from __future__ import annotations

from typing import Any

import pytest

import ingest.gate
import ingest.identity
import ingest.identity_filter
import ingest.json_scan
import ingest.parse_kernels
from ingest.clickhouse import EventStore
from ingest.meter import Meter
from tests.ingest.support import context, event, ndjson, send
from tests.ingest.test_formats import FORMATS, encode

MODULES = (ingest.gate, ingest.identity, ingest.identity_filter, ingest.json_scan, ingest.parse_kernels)
LANDING = Meter(
    meter_id="miles", event_type="landing", aggregation="sum", factors=("value", "properties.seats")
)
SEATS = Meter(meter_id="seats", event_type="seat", aggregation="time_weighted", reading="peak")


def compiled_variants() -> dict[str, int]:
    kernels: dict[str, Any] = {
        f"{module.__name__}.{name}": part
        for module in MODULES
        for name, part in vars(module).items()
        if hasattr(part, "py_func")
    }
    return {name: len(kernel.signatures) for name, kernel in kernels.items()}


@pytest.mark.parametrize("content_type", FORMATS)
def test_no_batch_compiles_anything(event_store: EventStore, content_type: str) -> None:
    sender = context(event_store, meters=[LANDING, SEATS])
    before = compiled_variants()
    assert len(before) > 25
    batches = [
        [event(1, type="landing", properties={"seats": "3"}), event(2, type="seat", value="1")],
        [event(3, value=None, properties={}), event(4, value=None, properties={})],
        [event(1, type="landing", properties={"seats": "3"})],
        [event(5, type="seat", value="1e2", properties={"operation": "grow"}), event(6, value="1e2")],
    ]
    for batch in batches:
        send(sender, encode(batch, content_type), content_type=content_type)
    context(event_store)
    assert compiled_variants() == before


def test_nor_does_a_batch_of_which_nothing_is_good(event_store: EventStore) -> None:
    sender = context(event_store)
    before = compiled_variants()
    send(sender, ndjson("broken"))
    assert compiled_variants() == before
