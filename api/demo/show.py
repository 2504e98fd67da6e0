"""What the demo prints: tables and sentences, from plain values. Nothing here asks a server anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDE: Final = 110
INDENT: Final = 3
NAME_WIDTH: Final = 26
MINOR_DIGITS: Final = 2
"""The demo bills in US dollars."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_BARS_ASCII: Final = "._-:=+*#"


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing the demo did: how many records of what (None: not counted), in how many seconds."""

    name: str
    records: int | None
    unit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class AirlineYear:
    """One row of the result: an airline's year. ``totals_minor``: a total per invoice, in billing order."""

    carrier: str
    name: str
    departures: int
    totals_minor: tuple[int, ...]

    @property
    def total_minor(self) -> int:
        return sum(self.totals_minor)


def money(amount_minor: int) -> str:
    """1234567 -> 12,345.67, by integer arithmetic."""
    sign = "-" if amount_minor < 0 else ""
    whole, rest = divmod(abs(amount_minor), 10**MINOR_DIGITS)
    return f"{sign}{whole:,}.{rest:0{MINOR_DIGITS}d}"


def sparkline(values: Sequence[int], *, bars: str = _BARS) -> str:
    """One character a value, the lowest bar for the smallest and the highest for the largest."""
    low, high = min(values, default=0), max(values, default=0)
    if low == high:
        return bars[len(bars) // 2] * len(values)
    return "".join(bars[(value - low) * (len(bars) - 1) // (high - low)] for value in values)


def heading(console: Console, number: int, words: str) -> None:
    """A numbered headline between two steps."""
    console.print()
    console.print(f"[bold]{number}. {words}[/bold]")


def say(console: Console, words: str) -> None:
    """A sentence under a headline; wrapped lines stay under it."""
    console.print(Padding(Text(words), (0, 0, 0, INDENT), expand=False))


def stage_table(stages: Sequence[Stage]) -> Table:
    """What took how long, and how many a second."""
    table = Table(box=box.SIMPLE_HEAD, title="Where the time went", title_justify="left", pad_edge=False)
    table.add_column("stage")
    table.add_column("records", justify="right")
    table.add_column("of")
    table.add_column("seconds", justify="right")
    table.add_column("a second", justify="right")
    for stage in stages:
        counted = "" if stage.records is None else f"{stage.records:,}"
        rate = "" if not stage.records or stage.seconds <= 0 else f"{round(stage.records / stage.seconds):,}"
        table.add_row(stage.name, counted, stage.unit, f"{stage.seconds:.2f}", rate)
    table.add_section()
    table.add_row("all", "", "", f"{sum(stage.seconds for stage in stages):.2f}", "")
    return table


def airline_table(airlines: Sequence[AirlineYear], *, width: int, ascii_only: bool) -> Table:
    """A row an airline, the largest total first, and the grand total.

    width: columns of the terminal; under ``WIDE`` the smallest and largest month are left to the bars.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        title="The year 2013, invoiced (USD; the prices are invented)",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("airline", max_width=NAME_WIDTH, overflow="ellipsis", no_wrap=True)
    bars = _BARS_ASCII if ascii_only else _BARS
    wide = width >= WIDE
    for name in ("departures", "invoices", "total", *(("smallest", "largest") if wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Jan to Dec", no_wrap=True, min_width=12)
    for year in sorted(airlines, key=lambda year: -year.total_minor):
        ends = (min(year.totals_minor, default=0), max(year.totals_minor, default=0)) if wide else ()
        table.add_row(
            f"{year.carrier} {year.name}",
            f"{year.departures:,}",
            str(len(year.totals_minor)),
            money(year.total_minor),
            *map(money, ends),
            sparkline(year.totals_minor, bars=bars),
        )
    table.add_section()
    table.add_row(
        "all airlines",
        f"{sum(year.departures for year in airlines):,}",
        str(sum(len(year.totals_minor) for year in airlines)),
        money(sum(year.total_minor for year in airlines)),
        *(("", "") if wide else ()),
        sparkline(_by_month(airlines), bars=bars),
    )
    return table


def next_steps(console: Console, steps: Sequence[tuple[str, str]]) -> None:
    """Commands to copy, each under a line that says what it does; never broken by the terminal's width."""
    console.print("[bold]Next, to copy and run[/bold]")
    for words, command in steps:
        console.print(Text(f"# {words}", style="dim"), soft_wrap=True)
        console.print(Text(command, style="cyan"), soft_wrap=True)


def _by_month(airlines: Sequence[AirlineYear]) -> tuple[int, ...]:
    width = max((len(year.totals_minor) for year in airlines), default=0)
    return tuple(
        sum(year.totals_minor[month] for year in airlines if month < len(year.totals_minor))
        for month in range(width)
    )
