"""Which cases a stage has, which systems race in each, and which functions carry them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OURS: Final = "ratemill"
REPEATS: Final = {"tiny": 1, "small": 3, "full": 3}


@dataclass(frozen=True, slots=True)
class Contender:
    """load and run: ``module:function``, called in processes of their own. store: contenders of one
    system with the same store share what was loaded. repeat_max, warm_up=False: for slow systems.
    needs_cloudkitty: left out unless an interpreter that has CloudKitty is named."""

    system: str
    load: str
    run: str
    store: str
    repeat_max: int = 3
    warm_up: bool = True
    needs_cloudkitty: bool = False

    @property
    def owner(self) -> str:
        """Whose store it is: that of ours in every way it runs."""
        return OURS if self.system.startswith(OURS) else self.system


@dataclass(frozen=True, slots=True)
class Case:
    """fresh: also time one job from the start of a new process."""

    name: str
    contenders: tuple[Contender, ...]
    months: int = 3
    fresh: bool = False


_EXPLAINED: Final = (
    Contender(OURS, "ours_job:load_job", "ours_job:run_job", "job"),
    Contender("duckdb", "peer_duckdb:load_job", "peer_duckdb_explained:run_job", "job"),
    Contender("clickhouse", "peer_clickhouse:load_job", "peer_clickhouse_explained:run_job", "job"),
    Contender("pandas", "peer_pandas:load_job", "peer_pandas_explained:run_job", "job", 1, False),
)
"""Every system stores explained lines of equal content."""

_FROM_EVENTS: Final = (
    Contender(OURS, "ours_job:load_job", "ours_job:run_job_from_events", "job"),
    *_EXPLAINED[1:3],
)
"""Ratemill without the usage it added up before: it reads every event, as the peers do."""

_BARE: Final = (
    Contender(OURS, "ours_job:load_job", "ours_job:run_bare_job", "job"),
    Contender("duckdb", "peer_duckdb:load_job", "peer_duckdb:run_bare_job", "job"),
    Contender("clickhouse", "peer_clickhouse:load_job", "peer_clickhouse:run_bare_job", "job"),
    Contender("pandas", "peer_pandas:load_job", "peer_pandas:run_bare_job", "job", 1, False),
)
"""The peers store seven columns; Ratemill has no such mode and stores what it always does."""

_JOB: Final = (
    Case("three_months", _EXPLAINED, fresh=True),
    Case("one_month", _EXPLAINED, months=1),
    Case("three_months_from_events", _FROM_EVENTS),
    Case("one_month_from_events", _FROM_EVENTS, months=1),
    Case("three_months_bare", _BARE),
    Case("one_month_bare", _BARE, months=1),
)

_USAGE: Final = (
    Contender(OURS, "ours_job:load_job", "ours_job:run_rollup", "job"),
    Contender("duckdb", "peer_duckdb:load_job", "peer_duckdb:run_rollup", "job"),
    Contender("clickhouse", "peer_clickhouse:load_job", "peer_clickhouse:run_rollup", "job"),
)
"""Every system counts events; Ratemill leaves the usage it added up before aside."""

_USAGE_ONCE: Final = (
    _USAGE[0],
    Contender("clickhouse", "peer_clickhouse:load_once", "peer_clickhouse:run_rollup_once", "once"),
)
"""The peer's rows have no resends left, so its query drops none: the least that reading them all takes."""

_ROLLUP: Final = (
    Case("three_months", _USAGE),
    Case("one_month", _USAGE, months=1),
    Case("three_months_once", _USAGE_ONCE),
    Case("add_up", (Contender(OURS, "ours_job:load_job", "ours_job:run_add_up", "job", 1, False),)),
)


def _ingest_case(name: str, run: str, ours: str = "ours_ingest") -> Case:
    load = "peer_clickhouse:load_ingest"
    return Case(
        name,
        (
            Contender(OURS, "ours_ingest:load_ingest", f"{ours}:run_{name}", "ingest"),
            Contender("clickhouse", load, f"peer_clickhouse:{run}", "ingest"),
        ),
    )


_INGEST: Final = (
    _ingest_case("parquet", "run_parquet"),
    _ingest_case("arrow", "run_parquet"),
    _ingest_case("ndjson", "run_ndjson"),
    Case(
        "gate_bounded",
        (
            Contender(OURS, "ours_ingest:load_ingest", "ours_ingest:run_gate_bounded", "ingest"),
            Contender(f"{OURS}_in_memory", "ours_ingest:load_ingest", "ours_ingest:run_arrow", "ingest"),
        ),
    ),
    _ingest_case("http_batches", "run_batches", "ours_http"),
    _ingest_case("http_singles", "run_singles", "ours_http"),
)


def _cloudkitty(system: str, run: str) -> Contender:
    return Contender(
        system, "rating_data:load", f"peer_cloudkitty:{run}", "rating", warm_up=False, needs_cloudkitty=True
    )


_RATING: Final = (
    Case(
        "amounts",
        (
            Contender(OURS, "rating_data:load", "ours_rating:run_amounts", "rating"),
            Contender("duckdb", "rating_data:load", "peer_rating:run_duckdb", "rating"),
            Contender("clickhouse", "rating_data:load", "peer_rating:run_clickhouse", "rating"),
            Contender("decimal_loop", "rating_data:load", "peer_rating:run_decimal_loop", "rating", 1, False),
            Contender("pandas_apply", "rating_data:load", "peer_rating:run_pandas_apply", "rating", 1, False),
        ),
    ),
    Case("rated_lines", (Contender(OURS, "rating_data:load", "ours_rating:run_rated_lines", "rating"),)),
    Case(
        "mixed_tiers",
        (
            Contender(OURS, "mixed_tiers:load", "ours_rating:run_mixed_amounts", "mixed"),
            Contender("duckdb", "mixed_tiers:load", "peer_mixed:run_duckdb", "mixed"),
            Contender("clickhouse", "mixed_tiers:load", "peer_mixed:run_clickhouse", "mixed"),
            Contender("decimal_loop", "mixed_tiers:load", "peer_mixed:run_decimal_loop", "mixed", 1, False),
            Contender("pandas_apply", "mixed_tiers:load", "peer_mixed:run_pandas_apply", "mixed", 1, False),
        ),
    ),
    Case(
        "by_level",
        (
            Contender(OURS, "rating_data:load", "ours_rating:run_amounts_by_level", "rating"),
            Contender(f"{OURS}_lines", "rating_data:load", "ours_rating:run_rated_lines_by_level", "rating"),
            _cloudkitty("cloudkitty", "run_core"),
            _cloudkitty("cloudkitty_worker", "run_worker"),
        ),
    ),
)

_BILLING_RUN: Final = (
    Case("three_months", (Contender(OURS, "ours_billing:load", "ours_billing:run", "billing", 1),)),
    Case(
        "invoices",
        (Contender(OURS, "ours_billing:load_invoices", "ours_billing:run_invoices", "invoices", 1),),
    ),
)

_DOCUMENTS: Final = (
    Case(
        "preview",
        (Contender(OURS, "ours_billing:load_invoices", "ours_documents:run_preview", "invoices", 1),),
    ),
    Case("pdf", (Contender(OURS, "ours_documents:load_pdf", "ours_documents:run_pdf", "pdf", 1),)),
    Case("print", (Contender(OURS, "ours_documents:load_pdf", "ours_documents:run_print", "pdf", 1),)),
)
_REPORTS: Final = (
    Case("revenue", (Contender(OURS, "ours_reports:load_revenue", "ours_reports:run_revenue", "reports"),)),
    Case("revenue_by_day", (Contender(OURS, "ours_reports:load_days", "ours_reports:run_days", "days"),)),
    Case("search", (Contender(OURS, "ours_reports:load_search", "ours_reports:run_search", "search"),)),
)

_RERATE: Final = (
    Case(
        "twelve_months",
        (Contender(OURS, "ours_history:load_rerate", "ours_history:run_rerate", "rerate", 1),),
    ),
)
_WHAT_IF: Final = (
    Case(
        "one_month",
        (Contender(OURS, "ours_history:load_what_if", "ours_history:run_what_if", "whatif", 1),),
    ),
)

_SCALE: Final = (
    Case("closing", (Contender(OURS, "scale:load", "scale:run_closing", "scale"),)),
    Case("live_usage", (Contender(OURS, "scale:load", "scale:run_live_usage", "scale", 1),)),
    Case(
        "gate",
        (
            Contender(OURS, "scale:load", "scale:run_gate_bounded", "scale", 1),
            Contender(f"{OURS}_in_memory", "scale:load", "scale:run_gate_memory", "scale", 1),
        ),
    ),
)
"""Nothing is raced: the same questions with more and more events (``--events``)."""

STAGES: Final = {
    "ingest": _INGEST,
    "rollup": _ROLLUP,
    "rating": _RATING,
    "job": _JOB,
    "billing_run": _BILLING_RUN,
    "documents": _DOCUMENTS,
    "reports": _REPORTS,
    "rerate": _RERATE,
    "whatif": _WHAT_IF,
    "scale": _SCALE,
}
OWN_WORKLOAD: Final = frozenset({"rerate", "whatif", "scale", "reports", "documents"})
"""Stages that make their events themselves (``history.py``, ``scale.py``) and need no dataset."""
BY_EVENTS: Final = frozenset({"scale"})
"""Stages that take ``--events``."""
BY_CONTRACTS: Final = frozenset({("billing_run", "invoices")})
"""Stages and cases that take ``--contracts``."""
NOT_BUILT: Final = ("query", "matching")
