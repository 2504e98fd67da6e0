"""The rules of a matrix price: its dimensions, its cells, and cells that can never be reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingest.errors import Issue
from ingest.meter import Meter
from rating.price_plan import MatrixPrice
from rating.price_rules import simple_price_rules

CELLS_MAX: Final = 10_000


def matrix_rules(price: MatrixPrice, pointer: str, meter: Meter | None, *, currency: str) -> Iterator[Issue]:
    """Every rule the matrix breaks. meter: the charge's, None when it is unknown (said elsewhere);
    currency: the plan's."""
    if not price.dimensions or len(set(price.dimensions)) != len(price.dimensions):
        yield Issue(
            "matrix_dimensions",
            f"{pointer}.dimensions",
            f"The dimensions are {list(price.dimensions)}.",
            "at least one dimension, each named once.",
        )
    if not price.cells or len(price.cells) > CELLS_MAX:
        yield Issue(
            "cell_count",
            f"{pointer}.cells",
            f"There are {len(price.cells)} cells.",
            f"1 to {CELLS_MAX} cells.",
        )
    if meter is not None:
        yield from _group_key_rules(price, pointer, meter)
    yield from _cell_rules(price, pointer, currency=currency)
    if price.default is not None:
        yield from simple_price_rules(price.default, f"{pointer}.default", currency=currency)


def _group_key_rules(price: MatrixPrice, pointer: str, meter: Meter) -> Iterator[Issue]:
    for position, dimension in enumerate(price.dimensions):
        if dimension not in meter.group_by:
            yield Issue(
                "unknown_dimension",
                f"{pointer}.dimensions[{position}]",
                f"Meter {meter.meter_id!r} is not grouped by {dimension!r}, so usage does not carry it.",
                f"one of the meter's group keys: {', '.join(meter.group_by) or 'it has none'}.",
            )


def _cell_rules(price: MatrixPrice, pointer: str, *, currency: str) -> Iterator[Issue]:
    earlier: dict[frozenset[tuple[str, str]], int] = {}
    for position, cell in enumerate(price.cells):
        at = f"{pointer}.cells[{position}]"
        for name in cell.match:
            if name not in price.dimensions:
                yield Issue(
                    "cell_dimension",
                    f"{at}.match.{name}",
                    f"{name!r} is not among the dimensions of the matrix.",
                    f"one of {', '.join(price.dimensions)}.",
                )
        wanted = frozenset(cell.match.items())
        hidden_by = _hidden_by(wanted, earlier)
        if hidden_by is not None:
            yield Issue(
                "cell_unreachable",
                at,
                f"cells[{hidden_by}] matches everything this cell matches, and the first match wins.",
                "the more special cell first.",
            )
        earlier.setdefault(wanted, position)
        yield from simple_price_rules(cell.price, f"{at}.price", currency=currency)


def _hidden_by(
    wanted: frozenset[tuple[str, str]], earlier: dict[frozenset[tuple[str, str]], int]
) -> int | None:
    # A cell hides another when its conditions are a subset of the other's; a matrix has few
    # dimensions, so trying all subsets of one cell beats comparing it with every other cell.
    items = sorted(wanted)[:12]
    for chosen in range(1 << len(items)):
        subset = frozenset(item for bit, item in enumerate(items) if chosen >> bit & 1)
        if subset in earlier:
            return earlier[subset]
    return None
