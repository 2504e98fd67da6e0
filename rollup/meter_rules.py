"""What a meter must keep that this room alone can tell: that there is such a time zone."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import InvalidInput, Issue
from ingest.meter import Meter, meter_rules
from rollup.period import find_time_zone


def all_meter_rules(meter: Meter) -> Iterator[Issue]:
    """Every rule a meter document breaks beyond its field types."""
    yield from meter_rules(meter)
    if meter.parts is None or meter.parts.time_zone is None:
        return
    try:
        find_time_zone(meter.parts.time_zone)
    except InvalidInput:
        yield Issue(
            "unknown_time_zone",
            "parts.time_zone",
            f"{meter.parts.time_zone!r} is not a time zone.",
            "a name from the IANA list, like Europe/Berlin or UTC.",
        )
