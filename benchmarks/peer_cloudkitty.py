"""CloudKitty's hashmap module as a peer of the rating stage, in an interpreter of its own.

It has some 120 dependencies, so it is none of ours: ``--cloudkitty-python`` names an interpreter that
has it. Rows and rules go there as a file (``cloudkitty_core.py`` reads it), prices come back as one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from benchmarks.by_level import VOLUME_METERS
from benchmarks.peer_pandas import Tiers, read_tiers
from benchmarks.rating_data import first_amounts, read_usage
from benchmarks.request import CaseRequest, Measured
from benchmarks.result import amounts_hash

ROWS_MAX: Final = 200_000
"""As of the other scripts: its speed does not depend on the number of rows."""
LEVEL_STEP: Final = Decimal("1e-8")
"""The smallest step of its levels, which are lower bounds: one step above our inclusive upper bound."""

Charge = tuple[str, str]
Prices = list[tuple[int, Decimal]]


def run_core(request: CaseRequest) -> Measured:
    """Its rating core alone: rows in memory to rows with a price."""
    return _run(request, worker=False)


def run_worker(request: CaseRequest) -> Measured:
    """The rating core with what its worker does around it for each frame, storage left out."""
    return _run(request, worker=True)


def _run(request: CaseRequest, *, worker: bool) -> Measured:
    usage = read_usage(request, rows_max=ROWS_MAX)
    tiers = read_tiers(request)
    services = _services(usage)
    answer = _rate(request, services, tiers, worker=worker)
    prices = [
        (row, Decimal(price))
        for (plan, meter), rows in services.items()
        for (row, _), price in zip(rows, answer["prices"][f"{plan}/{meter}"], strict=True)
    ]
    check_total(prices, services, tiers)
    digits = {row: tiers[charge][0] for charge, rows in services.items() for row, _ in rows}
    amounts = [_minor(digits[row], price) for row, price in prices]
    return Measured(
        rows=len(usage),
        seconds=tuple(answer["seconds"]),
        peak_mb=round(answer["peak_mb"], 1),
        exact=True,
        result_hash=amounts_hash(first_amounts([row for row, _ in prices], amounts)),
    )


def check_total(
    prices: Prices, services: dict[Charge, list[tuple[int, Decimal]]], tiers: dict[Charge, tuple[int, Tiers]]
) -> None:
    """Raises ValueError unless the prices add up to the same as quantity x unit price of the row's tier, in
    whole numbers of 10**-20."""
    with localcontext() as context:
        context.prec = 76
        found = sum((price for _, price in prices), Decimal(0)).scaleb(20)
        wanted = sum(
            int(quantity.scaleb(12)) * int(unit_price(charge, tiers[charge][1], quantity).scaleb(8))
            for charge, rows in services.items()
            for _, quantity in rows
        )
    if found != wanted:
        raise ValueError(f"CloudKitty's prices add up to {found}e-20, the independent sum is {wanted}e-20.")


def unit_price(charge: Charge, tiers: Tiers, quantity: Decimal) -> Decimal:
    """What a unit of the row costs: of the tier that holds the quantity, or of the first one.

    Raises ValueError for a quantity between a bound and the level that stands for it: the peer cannot tell
    the two apart.
    """
    if charge[1] not in VOLUME_METERS:
        return tiers[0][2]
    for _, upper, price in tiers:
        if upper is None or quantity <= upper:
            return price
        if quantity < upper + LEVEL_STEP:
            raise ValueError(f"a level of CloudKitty has 8 digits; {quantity} is just above {upper}.")
    raise ValueError(f"no tier holds {quantity}.")


def rules(charge: Charge, tiers: Tiers) -> list[Sequence[str]]:
    """The rules of one service: a flat price, or 1 multiplied by the price of the level that was reached."""
    if charge[1] not in VOLUME_METERS:
        return [("mapping", "", str(tiers[0][2]), "flat")]
    levels = [lower + LEVEL_STEP if lower else lower for lower, _, _ in tiers]
    thresholds = [
        ("threshold", str(level), str(price), "rate")
        for level, (_, _, price) in zip(levels, tiers, strict=True)
    ]
    return [("mapping", "", "1", "flat"), *thresholds]


def _services(usage: pa.Table) -> dict[Charge, list[tuple[int, Decimal]]]:
    """(plan, meter), which is a service there -> its rows as (row, quantity)."""
    services: dict[Charge, list[tuple[int, Decimal]]] = {}
    columns = [usage[name].to_pylist() for name in ("row", "plan_id", "meter_id", "quantity")]
    for row, plan_id, meter_id, quantity in zip(*columns, strict=True):
        services.setdefault((plan_id, meter_id), []).append((row, quantity))
    return services


def _rate(
    request: CaseRequest,
    services: dict[Charge, list[tuple[int, Decimal]]],
    tiers: dict[Charge, tuple[int, Tiers]],
    *,
    worker: bool,
) -> dict[str, Any]:
    job, answer = request.work / "cloudkitty_job.json", request.work / "cloudkitty_answer.json"
    job.write_bytes(
        orjson.dumps(
            {
                "worker": worker,
                "repeat": request.repeat,
                "services": [
                    {
                        "name": f"{plan}/{meter}",
                        "rules": rules((plan, meter), tiers[plan, meter][1]),
                        "quantities": [str(quantity) for _, quantity in rows],
                    }
                    for (plan, meter), rows in services.items()
                ],
            }
        )
    )
    script = Path(__file__).with_name("cloudkitty_core.py")
    command = [str(request.cloudkitty_python), str(script), str(job), str(answer)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"CloudKitty in {request.cloudkitty_python} failed:\n{done.stderr}")
    found: dict[str, Any] = orjson.loads(answer.read_bytes())
    return found


def _minor(minor_digits: int, price: Decimal) -> int:
    with localcontext() as context:
        context.prec = 76
        return int(price.scaleb(minor_digits).quantize(Decimal(1), ROUND_HALF_UP))
