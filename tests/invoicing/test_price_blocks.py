"""Goal: periods priced in blocks, each read while another is priced, give the lines of one call."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from ingest.read_ahead import one_ahead
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.due import due_service_periods
from invoicing.open_usage import keep_open_usage
from invoicing.pricing import price_blocks, price_periods
from invoicing.run_blocks import slices_of_contracts
from rollup.stored_usage import StoredUsage
from tests.invoicing.world import World, at


def test_blocks_of_any_size_give_the_lines_of_one_call(world: World) -> None:
    world.plan()
    for number in range(1, 6):
        world.contract(f"c{number}")
        world.events(("call", f"c{number}-subject", "2025-01-20", str(number)))
    world.events(("call", "c2-subject", "2025-02-20", "7"))
    stored = StoredUsage(world.event_store)
    keep_open_usage(stored, ledger=world.ledger, now=at("2025-02-20"))
    world.contract("c6")  # not stored yet: from its block on, events are counted
    world.events(("call", "c6-subject", "2025-01-20", "6"))
    catalogue = load_billing_catalogue(world.ledger)
    due: dict[str, Any] = {
        "contracts": catalogue.contracts,
        "plan_versions": catalogue.plan_versions,
        "settled": catalogue.settled,
        "as_of": date(2025, 4, 1),
    }
    asked: dict[str, Any] = {
        "event_store": world.event_store,
        "subjects": catalogue.subjects,
        "meters": catalogue.meters,
        "price_book": catalogue.price_book,
        "run_id": "run",
    }
    whole = price_periods(**asked, periods=due_service_periods(**due)).lines
    assert len(whole) > 10
    for usage in (None, stored):
        for contracts_max in (1, 2, 4, 100):
            slices = slices_of_contracts(catalogue.contracts, contracts_max)
            periods = (due_service_periods(**{**due, "contracts": part}) for part in slices)
            blocks = price_blocks(**asked, blocks=periods, stored_usage=usage)
            found = pa.concat_tables([block.lines for block in blocks])
            assert found.unify_dictionaries().combine_chunks().equals(whole.combine_chunks())


def test_what_goes_wrong_while_reading_ahead_is_raised_by_the_next_block(world: World) -> None:
    def pieces() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    ahead = one_ahead(pieces(), world.event_store.reader)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="no more"):
        next(ahead)
