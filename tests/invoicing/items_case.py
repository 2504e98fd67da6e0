"""Billable items in short words, and the rate cards that price them."""

from __future__ import annotations

from typing import Any, Final

from invoicing.billable_store import TakenItem, import_items
from tests.invoicing.world import LONG_AGO, World

CONSULTING: Final[dict[str, Any]] = {
    "charge_id": "consulting",
    "name": "Consulting",
    "kind": "item",
    "unit": "hour",
    "price": {
        "model": "matrix",
        "dimensions": ("role",),
        "cells": (
            {"match": {"role": "senior"}, "price": {"model": "per_unit", "unit_price": "120"}},
            {"match": {"role": "junior"}, "price": {"model": "per_unit", "unit_price": "84"}},
        ),
    },
    "group_by": ("project", "role"),
}
"""120 an hour of a senior, 84 of a junior; other roles have no price."""


def hours(external_id: str, quantity: str, **changes: Any) -> dict[str, Any]:
    """A timesheet entry of contract c1 on 2025-01-20."""
    return {
        "source_system": "clock",
        "external_id": external_id,
        "source": "timesheet",
        "contract_id": "c1",
        "date": "2025-01-20",
        "quantity": quantity,
        "project": "Relaunch",
        "role": "junior",
        **changes,
    }


def expense(external_id: str, amount: str, **changes: Any) -> dict[str, Any]:
    """Money spent for contract c1 on 2025-01-21, passed on as it is."""
    return {
        "source_system": "books",
        "external_id": external_id,
        "source": "expense",
        "contract_id": "c1",
        "date": "2025-01-21",
        "description": "Train to Berlin",
        "amount": amount,
        "currency": "EUR",
        **changes,
    }


def take(world: World, *documents: dict[str, Any], amend: bool = False) -> list[TakenItem]:
    return import_items(world.ledger, documents, amend=amend, actor="test", now=LONG_AGO)


def outcomes(taken: list[TakenItem]) -> list[str]:
    return [one.outcome for one in taken]
