"""CloudKitty's hashmap module over rows from a file: run by an interpreter that has CloudKitty installed.

``python cloudkitty_core.py JOB.json ANSWER.json``. It imports nothing of this project, because that
interpreter has nothing of it (``peer_cloudkitty.py`` starts it). The module runs as its own tests run
it: against SQLite in memory, without a message bus and without Keystone.

JOB: ``services`` (name, rules as ``["mapping", "", cost, type]`` or ``["threshold", level, cost, type]``,
``quantities`` in row order), ``repeat``, ``worker``. ANSWER: ``seconds`` a repetition, ``peak_mb``, and
the price of every row as text, by service.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudkitty import service as cloudkitty_service
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.db import api as database
from cloudkitty.rating import hash as hashmap
from cloudkitty.rating.hash.db import api as rules_database
from oslo_config import cfg

BEGIN = datetime(2025, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
END = BEGIN + timedelta(hours=1)


def main(arguments: list[str]) -> None:
    """Load the rules, rate all rows ``repeat`` times, write the answer."""
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    processor = _processor(job["services"])
    frame = DataFrame(BEGIN, END, {service["name"]: _points(service) for service in job["services"]})
    rate = _as_a_worker if job["worker"] else _alone
    seconds = []
    for _ in range(job["repeat"]):
        started = time.perf_counter()
        rated = rate(processor, frame)
        seconds.append(time.perf_counter() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    prices = {name: [str(point.price) for point in points] for name, points in rated.itertypes()}
    answer = {"seconds": seconds, "peak_mb": peak_mb, "prices": prices}
    Path(arguments[1]).write_text(json.dumps(answer), encoding="utf-8")


def _alone(processor: Any, frame: Any) -> Any:
    """The rating core and nothing else."""
    return processor.process(frame)


def _as_a_worker(processor: Any, frame: Any) -> Any:
    """What its worker does with a frame between collecting and storing it: a copy for a debug line, the
    rating core, and the round trip through dictionaries (``orchestrator.py``)."""
    copy.deepcopy(frame)
    return DataFrame.from_dict(processor.process(frame).as_dict(mutable=True))


def _points(service: dict[str, Any]) -> list[Any]:
    return [DataPoint("unit", Decimal(quantity), 0, {}, {}) for quantity in service["quantities"]]


def _processor(services: list[dict[str, Any]]) -> Any:
    """The module with its rules read back from its database."""
    cloudkitty_service.prepare_service([], config_files=[])
    cfg.CONF.set_override("connection", "sqlite://", "database")
    database.get_instance().get_migration().upgrade("head")
    rules = rules_database.get_instance()
    rules.get_migration().upgrade("head")
    for service in services:
        uuid = rules.create_service(service["name"]).service_id
        for kind, level, cost, map_type in service["rules"]:
            if kind == "mapping":
                rules.create_mapping(Decimal(cost), map_type, service_id=uuid, created_by="benchmark")
            else:
                rules.create_threshold(Decimal(level), Decimal(cost), map_type, service_id=uuid)
    processor = hashmap.HashMap()
    _costs_as_written(processor._entries)  # noqa: SLF001
    return processor


def _costs_as_written(entries: dict[str, Any]) -> None:
    """SQLite keeps NUMERIC as binary floats; put the decimals back that a MariaDB would have given."""
    for value in entries.values():
        if isinstance(value, dict):
            if "cost" in value:
                value["cost"] = value["cost"].quantize(Decimal("1e-8")).normalize()
            _costs_as_written(value)


if __name__ == "__main__":
    main(sys.argv[1:])
