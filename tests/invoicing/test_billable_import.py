"""Goal: files of items are read as they are, and the export of a project becomes a grouped draft, once."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ingest.errors import InvalidDocument, UnreadableBody
from invoicing.billable_import import TimeEntry, hours_of, read_items
from invoicing.item_invoice import ItemInvoiceRequest, plan_item_invoices
from tests.invoicing.items_case import CONSULTING, outcomes, take
from tests.invoicing.test_billable_items import is_explained
from tests.invoicing.world import World, at

GIVEN = {"source": "timesheet", "source_system": "clock"}


@pytest.mark.requirement("MET-05")
def test_a_csv_gives_items_its_other_columns_are_fields() -> None:
    body = "external_id,date,quantity,role,cost_center\n1, 2025-01-20 ,2.50,senior,42\n\n2,2025-01-21,,,\n"
    read = read_items(body.encode(), media_type="text/csv", given=GIVEN)
    first = {"external_id": "1", "date": "2025-01-20", "quantity": "2.50", "role": "senior"}
    assert read.documents == [
        {**GIVEN, **first, "fields": {"cost_center": "42"}},
        {**GIVEN, "external_id": "2", "date": "2025-01-21"},
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("a,a\n1,2\n", "name each column once"),
        ("a,b\n1\n", "row 2 has 1 cells and the header 2"),
        ('a,b\n"1,2\n', "is no CSV"),
        ("", "name each column once"),
    ],
)
def test_a_broken_csv_is_refused_whole(body: str, words: str) -> None:
    with pytest.raises(UnreadableBody, match=words):
        read_items(body.encode(), media_type="text/csv", given={})


@pytest.mark.parametrize("shape", ["list", "items", "stream"])
def test_json_and_yaml_items_come_out_alike(shape: str) -> None:
    item = {"external_id": "1", "quantity": "0.1"}
    body = {
        "list": b'[{"external_id": "1", "quantity": 0.1}]',
        "items": b'{"items": [{"external_id": "1", "quantity": 0.1}]}',
        "stream": b'---\nexternal_id: "1"\nquantity: 0.1\n',
    }[shape]
    (document,) = read_items(body, media_type="application/yaml", given={}).documents
    assert {**document, "quantity": str(document["quantity"])} == item


def test_a_duration_is_hours_to_the_millionth_half_up() -> None:
    told = [str(hours_of(entry(duration_ms=number))) for number in (5_400_000, 1_200_000, 1, 2)]
    assert told == ["1.500000", "0.333333", "0.000000", "0.000001"]


def test_a_broken_project_is_refused_with_all_that_is_wrong() -> None:
    tasks = [
        {"id": "1", "name": "A", "rate": "1", "time_entries": [{"id": "1", "date": "2025-01-20"}]},
        {"id": "2", "name": "B", "status": "done", "amount": "5"},
    ]
    with pytest.raises(InvalidDocument) as refused:
        read_items(export(tasks=tasks, currency=None), media_type="application/json", given={})
    assert [issue.pointer for issue in refused.value.issues] == [
        "currency",
        "tasks[0].time_entries[0]",
        "tasks[1].date",
    ]


@pytest.mark.requirement("GEN-13")
def test_a_project_becomes_one_grouped_draft_and_again_nothing(world: World) -> None:
    world.plan(CONSULTING)
    world.contract()
    read = read_items(export(), media_type="application/json", given={})
    assert outcomes(take(world, *map(dict, read.documents))) == ["accepted"] * 5
    assert outcomes(take(world, *map(dict, read.documents))) == ["duplicate"] * 5
    request = ItemInvoiceRequest(
        contract_id="c1", project="Relaunch", invoice_on=date(2025, 2, 1), as_draft=True
    )
    plan_item_invoices(world.ledger, request, actor="ann", now=at("2025-02-01"))
    world.bill("2025-02-01")
    (draft,) = world.invoices(state="draft")
    told = [
        (line.description, str(line.quantity), line.unit, str(line.amount)) for line in draft.invoice.lines
    ]
    assert told == [
        ("Consulting: Relaunch, junior", "3", "hour", "252"),
        ("Relaunch: Design, Logo", "1", "unit", "450"),
        ("Relaunch: Design, Review", "4", "hour", "380"),
    ]
    assert draft.summary.total_minor == 108200
    assert all(is_explained(world, line.line_id) for line in draft.invoice.lines)
    assert outcomes(take(world, *map(dict, read.documents))) == ["duplicate"] * 5
    world.bill("2025-02-15")
    assert len(world.invoices()) == 1


def entry(**values: Any) -> TimeEntry:
    return TimeEntry.model_validate({"id": "1", "date": "2025-01-20", **values})


def export(**changes: Any) -> bytes:
    """Two entries at a rate and one that is not billable, one by the rate card, one amount."""
    day = "2025-01-20"
    entries = [
        {"id": "1", "date": day, "hours": str(Decimal("2.5"))},
        {"id": "2", "date": day, "duration_ms": 5_400_000},
        {"id": "3", "date": day, "hours": "1", "billable": False},
    ]
    tasks = [
        {"id": "1", "name": "Review", "list": "Design", "rate": "95", "time_entries": entries},
        {"id": "2", "name": "Logo", "list": "Design", "status": "Done", "amount": "450", "date": day},
        {
            "id": "3",
            "name": "Setup",
            "time_entries": [{"id": "1", "date": day, "hours": "3", "role": "junior"}],
        },
    ]
    project = {
        "project": "Relaunch",
        "source_system": "tasks",
        "contract_id": "c1",
        "currency": "EUR",
        "tasks": tasks,
    }
    return orjson.dumps({**project, **changes})
