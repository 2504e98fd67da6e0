"""The year that numbers are of: the calendar's, or a billing entity's own, named by the year it begins in.

It goes with the prefix of the numbers, because a series is a prefix and a year: an entity whose year is not
the calendar's has prefixes of its own, and shares them only with entities whose year begins in the same
month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import orjson
from sqlalchemy import Connection, func, select

from invoicing.tables import SAVED_DOCUMENTS

CALENDAR_YEAR: Final = 1
ENTITY_KIND: Final = "billing_entity"


def fiscal_year(day: date, start_month: int) -> int:
    """The year in which the fiscal year of that day begins.

    >>> fiscal_year(date(2026, 3, 31), 4), fiscal_year(date(2026, 4, 1), 4)
    (2025, 2026)
    """
    return day.year if day.month >= start_month else day.year - 1


def start_month_of(entities: Iterable[Mapping[str, Any]], prefix: str) -> int:
    """In which month the year of a prefix begins. entities: documents of all billing entities in force."""
    for entity in entities:
        if prefix in entity.get("series", {}).values():
            return int(entity.get("fiscal_year_start_month", CALENDAR_YEAR))
    return CALENDAR_YEAR


def load_start_month(connection: Connection, prefix: str) -> int:
    """The same of the billing entities on record; read as they are kept, since their rules need numbers."""
    table = SAVED_DOCUMENTS.c
    newest = (
        select(table.key, func.max(table.version).label("version"))
        .where(table.kind == ENTITY_KIND)
        .group_by(table.key)
        .subquery()
    )
    texts = connection.execute(
        select(table.document)
        .join(newest, (newest.c.key == table.key) & (newest.c.version == table.version))
        .where(table.kind == ENTITY_KIND)
    ).scalars()
    return start_month_of(map(orjson.loads, texts), prefix)
