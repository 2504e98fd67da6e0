"""What the demo's invoices must come to, computed again with csv, int and Fraction alone.

Shares no code with the product: it reads the CSV rows and the gate leases itself, and states the
prices a second time. So a mistake in metering, rating or invoicing cannot hide in both.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
NIGHT = {22, 23, 0, 1, 2, 3, 4, 5}
LANDING = [(100, 620), (1000, 560), (3000, 495), (None, 440)]
GATES = [(2, 42000), (12, 36000), (None, 30000)]
TERMINAL = {"EWR": Fraction("142.50"), "JFK": Fraction(168), "LGA": Fraction("121.75")}
SEAT_MILE = Fraction("0.000085")
NIGHT_SURCHARGE = Fraction(250)
ACCESS = Fraction(1500)
MINIMUM_CENTS = 25_000_00


def flight_rows(folder: Path) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        text = io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8", newline="")
        yield from csv.DictReader(text)


def seats_by_tail_number(folder: Path) -> dict[str, int]:
    with (folder / "planes.csv").open(encoding="utf-8", newline="") as text:
        return {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(text)}


def expected_totals(
    flights: Iterable[Mapping[str, str]],
    seats: Mapping[str, int],
    gate_leases: bytes,
    carriers: Iterable[str],
) -> dict[tuple[str, int], int]:
    """(carrier, month of 2013) -> invoice total in cents."""
    departures: dict[tuple[str, int, str], int] = defaultdict(int)
    seat_miles: dict[tuple[str, int], int] = defaultdict(int)
    nights: dict[tuple[str, int], int] = defaultdict(int)
    for row in flights:
        if row["dep_time"] in ("", "NA"):
            continue
        key = row["carrier"], int(row["month"])
        departures[*key, row["origin"]] += 1
        seat_miles[key] += int(row["distance"]) * seats.get(row["tailnum"], 0)
        nights[key] += int(row["hour"]) in NIGHT
    gates = _gate_months(gate_leases)
    totals = {}
    for carrier in carriers:
        for month in range(1, 13):
            by_airport = {airport: departures[carrier, month, airport] for airport in TERMINAL}
            lines = [
                _graduated(Fraction(sum(by_airport.values())), LANDING),
                seat_miles[carrier, month] * SEAT_MILE,
                *(count * TERMINAL[airport] for airport, count in by_airport.items()),
                nights[carrier, month] * NIGHT_SURCHARGE,
                _graduated(gates[carrier, month], GATES),
            ]
            used = sum(_cents(line) for line in lines)
            totals[carrier, month] = max(used, MINIMUM_CENTS) + _cents(ACCESS)
    return totals


def _gate_months(gate_leases: bytes) -> dict[tuple[str, int], Fraction]:
    """Average number of gates per carrier and month, rounded half-up to six digits."""
    changes: dict[str, list[tuple[datetime, str, int]]] = defaultdict(list)
    for line in gate_leases.splitlines():
        lease = json.loads(line)
        instant = datetime.fromisoformat(lease["time"])
        changes[lease["subject"]].append((instant, lease["properties"]["operation"], int(lease["value"])))
    averages: dict[tuple[str, int], Fraction] = defaultdict(Fraction)
    for carrier, history in changes.items():
        for month in range(1, 13):
            start = datetime(2013, month, 1, tzinfo=NEW_YORK)
            end = datetime(2014, 1, 1, tzinfo=NEW_YORK) if month == 12 else start.replace(month=month + 1)
            level, since, gate_seconds = 0, start, 0
            for instant, operation, value in sorted(history):
                if instant.timestamp() >= end.timestamp():
                    break
                at = max(instant, start, key=datetime.timestamp)
                gate_seconds += level * int(at.timestamp() - since.timestamp())
                level, since = {"set": value, "add": level + value, "remove": level - value}[operation], at
            gate_seconds += level * int(end.timestamp() - since.timestamp())
            average = Fraction(gate_seconds, int(end.timestamp() - start.timestamp()))
            averages[carrier, month] = Fraction(_half_up(average * 10**6), 10**6)
    return averages


def _graduated(quantity: Fraction, tiers: list[tuple[int | None, int]]) -> Fraction:
    amount, below = Fraction(0), Fraction(0)
    for up_to, price in tiers:
        top = quantity if up_to is None else min(quantity, Fraction(up_to))
        amount += max(top - below, Fraction(0)) * price
        below = max(below, top)
    return amount


def _cents(amount: Fraction) -> int:
    return _half_up(amount * 100)


def _half_up(number: Fraction) -> int:
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)
