"""The contracts that are priced as one: who is in the pool of a period.

A pool is all contracts of one customer, or with the same ``pool_id``, that have a period of the same days on
the same plan version, whether they are billed in this run, were before or are held. Its members that are not
billed now are *companions*: their periods are priced beside the others and their lines left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Engine

from invoicing.billing_catalogue import BillingCatalogue
from invoicing.earlier_periods import Version, arrears_rows, calendar_of_rows, rows_from_the_start
from rating.plan_version import PlanVersion
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.schema import CALENDAR_SCHEMA

_POOL: Final = ["way", "owner", "plan_id", "plan_version", "period_start", "period_end", "days", "full_days"]
"""What the periods of one pool share."""


_VERSION: Final = ["plan_id", "plan_version"]


@dataclass(frozen=True, slots=True)
class Pools:
    """companions: SERVICE_PERIOD_SCHEMA, keys going on from those of the periods; calendar: theirs. pool:
    one entry a period, companions last; -1 for none."""

    companions: pa.Table
    calendar: pa.Table
    pool: NDArray[np.int64]


def pools_of(
    *,
    ledger: Engine,
    catalogue: BillingCatalogue,
    versions: Sequence[PlanVersion],
    periods: pa.Table,
    pooling: Mapping[Version, str],
) -> Pools:
    """The pools of those of ``periods`` that are priced by one of ``pooling``: plan versions, and what each
    is pooled over. versions: by which the periods were made. A contract that names no pool is alone."""
    count = periods.num_rows
    mine = arrears_rows(periods, pooling)
    if not len(mine):
        none = SERVICE_PERIOD_SCHEMA.empty_table(), CALENDAR_SCHEMA.empty_table()
        return Pools(*none, np.full(count, -1, np.int64))
    owners, ways = pool_owners(catalogue), _ways(pooling)
    mine = mine.join(ways, on=_VERSION, maintain_order="left")
    mine = mine.join(owners, on=["contract_id", "way"], maintain_order="left")
    wanted = owners.join(mine, on=["way", "owner"], how="semi")["contract_id"].unique().sort().to_list()
    contracts = pa.concat_tables([catalogue.contracts, catalogue.companions])
    theirs = contracts.filter(pc.is_in(contracts["contract_id"], value_set=pa.array(wanted, pa.string())))
    every = rows_from_the_start(catalogue, theirs, versions, periods)
    every = every.join(ways, on=_VERSION).join(owners, on=["contract_id", "way"])
    others = every.join(mine, on=_POOL, how="semi").join(mine, on=["contract_id", *_POOL], how="anti")
    others = others.sort("contract_id", "period_start")
    numbers = pl.Series(np.arange(count, count + len(others), dtype=np.uint32))
    others = others.with_columns(period_key=numbers)
    members = pl.concat([mine.select("period_key", *_POOL), others.select("period_key", *_POOL)])
    places = members.select(pl.struct(_POOL).rank("dense").cast(pl.Int64)).to_series().to_numpy()
    pool = np.full(count + len(others), -1, np.int64)
    pool[members["period_key"].to_numpy()] = places
    companions = others.select(SERVICE_PERIOD_SCHEMA.names).to_arrow().cast(SERVICE_PERIOD_SCHEMA)
    return Pools(companions.combine_chunks(), calendar_of_rows(others, catalogue, ledger), pool)


def pool_owners(catalogue: BillingCatalogue) -> pl.DataFrame:
    """(contract_id, way, owner): what each contract can be pooled over, its customer and the pool it
    names."""
    names = ["contract_id", "customer_id"]
    both = pa.concat_tables([catalogue.contracts.select(names), catalogue.companions.select(names)])
    customers = pl.DataFrame(both).select(
        "contract_id", way=pl.lit("customer"), owner=pl.col("customer_id").cast(pl.String)
    )
    known = set(both["contract_id"].to_pylist())
    named = {key: pool_id for key, pool_id in catalogue.pool_ids.items() if key in known}
    schema = {"contract_id": pl.String, "way": pl.String, "owner": pl.String}
    pools = pl.DataFrame(
        [(key, "pool", pool_id) for key, pool_id in named.items()], schema=schema, orient="row"
    )
    return pl.concat([customers, pools])


def _ways(pooling: Mapping[Version, str]) -> pl.DataFrame:
    """(plan_id, plan_version, way) of the plan versions."""
    schema = {"plan_id": pl.String, "plan_version": pl.UInt32, "way": pl.String}
    rows = [(*version, way) for version, way in sorted(pooling.items())]
    return pl.DataFrame(rows, schema=schema, orient="row")
