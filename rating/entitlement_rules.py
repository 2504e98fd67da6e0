"""What the entitlements of a contract must keep beyond their field types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ingest.errors import Issue
from ingest.meter import Meter
from rating.entitlement import Entitlement
from rollup.live_counter import LIVE_AGGREGATIONS


def entitlement_rules(entitlements: Sequence[Entitlement], *, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    """Every rule broken, with the path of the field. meters: all on record, by meter_id."""
    seen: set[tuple[str, str]] = set()
    for position, one in enumerate(entitlements):
        path = f"entitlements[{position}]"
        yield from _meter_rules(one, path, meters)
        yield from _limit_rules(one, path)
        if (one.meter_id, one.period) in seen:
            yield Issue(
                "entitlement_twice",
                path,
                f"Meter {one.meter_id!r} is limited twice per {one.period}.",
                "one limit a meter and period.",
            )
        seen.add((one.meter_id, one.period))


def _meter_rules(one: Entitlement, path: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    named = {"meter_id": one.meter_id, "provisioned_meter_id": one.provisioned_meter_id}
    for name, meter_id in named.items():
        if meter_id is not None and meter_id not in meters:
            yield Issue(
                "unknown_meter",
                f"{path}.{name}",
                f"{meter_id!r} is not on record.",
                "the meter_id of a meter that was saved before.",
            )
    meter = meters.get(one.meter_id)
    if meter is not None and meter.aggregation not in LIVE_AGGREGATIONS:
        yield Issue(
            "entitlement_not_additive",
            f"{path}.meter_id",
            f"Meter {one.meter_id!r} is of the aggregation {meter.aggregation}: nothing can be added to it.",
            f"a meter of {', '.join(LIVE_AGGREGATIONS)}.",
        )
    licences = meters.get(one.provisioned_meter_id or "")
    if licences is not None and licences.aggregation != "time_weighted":
        yield Issue(
            "provisioned_without_levels",
            f"{path}.provisioned_meter_id",
            f"Meter {licences.meter_id!r} is of the aggregation {licences.aggregation} and has no level.",
            "a time_weighted meter, which counts licences.",
        )


def _limit_rules(one: Entitlement, path: str) -> Iterator[Issue]:
    if (one.limit is None) == (one.provisioned_meter_id is None):
        yield Issue(
            "entitlement_limit",
            path,
            "The limit is given twice or not at all.",
            "either `limit`, or `provisioned_meter_id` for the licences provisioned.",
        )
    for name, number in (("limit", one.limit), ("per_provisioned", one.per_provisioned)):
        if number is not None and number < 0:
            yield Issue("negative_limit", f"{path}.{name}", f"It is {number}.", "0 or more.")
    if one.provisioned_meter_id is None and one.per_provisioned != 1:
        yield Issue(
            "per_provisioned_unused",
            f"{path}.per_provisioned",
            "It multiplies licences, and no provisioned_meter_id is given.",
            "a provisioned_meter_id, or no per_provisioned.",
        )
