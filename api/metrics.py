"""Prometheus metrics of one application, and the middleware that counts its requests.

The registry belongs to the application, not to the process, so two applications never mix.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.clock import Clock
from ingest.group_commit import CommitFacts
from ingest.load import IngestReport

OTHER_ROUTE: Final = "(no route)"
OUTCOMES: Final = ("accepted", "duplicates", "conflicts", "rejected")
_COMMIT_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_COMMIT_RECORDS: Final = (1, 10, 100, 1_000, 10_000, 100_000, 500_000)


class OutcomeCounter:
    """Counts the records of reports in a counter with the label outcome; all outcomes are there from the
    start."""

    def __init__(self, counter: Counter) -> None:
        self._counters = {outcome: counter.labels(outcome) for outcome in OUTCOMES}

    def add(self, report: IngestReport) -> None:
        """The records of one batch by what became of them."""
        for outcome, counter in self._counters.items():
            count = getattr(report, outcome)
            if count:
                counter.inc(count)


class Metrics:
    """The counters; names carry their unit."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ratemill_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ratemill_http_request_seconds",
            "Time from the request's head to the end of the answer.",
            ["method", "route"],
            registry=self.registry,
        )
        self.events = self._outcomes("ratemill_events", "Records of event batches by outcome.")
        self.corrections = self._outcomes("ratemill_corrections", "Records of correction batches by outcome.")
        self.commit_seconds = Histogram(
            "ratemill_ingest_commit_seconds",
            "Time of one commit of event batches: compare, insert, sync to disk.",
            buckets=_COMMIT_SECONDS,
            registry=self.registry,
        )
        self.commit_records = Histogram(
            "ratemill_ingest_commit_records",
            "Records of all batches of one commit.",
            buckets=_COMMIT_RECORDS,
            registry=self.registry,
        )
        self.commit_requests = Counter(
            "ratemill_ingest_commit_requests",
            "Requests whose batches were committed.",
            registry=self.registry,
        )

    def watch_gauge(self, name: str, about: str, read: Callable[[], int]) -> None:
        """A gauge that is read when the metrics are asked for."""
        Gauge(name, about, registry=self.registry).set_function(read)

    def count_commit(self, facts: CommitFacts) -> None:
        """Count one commit."""
        self.commit_seconds.observe(facts.seconds)
        self.commit_records.observe(facts.records)
        self.commit_requests.inc(facts.requests)

    def _outcomes(self, name: str, about: str) -> OutcomeCounter:
        return OutcomeCounter(Counter(name, about, ["outcome"], registry=self.registry))

    def counting(self, method: str, route: str) -> Callable[[int, float], None]:
        """What counts one answered request of that route: its status and the seconds it took."""
        seconds = self.seconds.labels(method, route)
        counters: dict[int, Counter] = {}

        def count(status: int, took: float) -> None:
            counter = counters.get(status)
            if counter is None:
                counter = counters[status] = self.requests.labels(method, route, str(status))
            counter.inc()
            seconds.observe(took)

        return count

    def text(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)


def kept_for(seconds: float, read: Callable[[], int], clock: Clock) -> Callable[[], int]:
    """The same figure, read anew only when it is older than that: for what takes longer to read than a scrape
    should."""
    lock = threading.Lock()
    kept: list[tuple[datetime, int]] = []

    def figure() -> int:
        with lock:
            if not kept or (clock.now() - kept[0][0]).total_seconds() >= seconds:
                kept[:] = [(clock.now(), read())]
            return kept[0][1]

    return figure


class CountRequests:
    """ASGI middleware: one count and one duration a request, by route template, never by URL."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            template = getattr(scope.get("route"), "path", OTHER_ROUTE)
            self._metrics.requests.labels(scope["method"], template, str(status)).inc()
            self._metrics.seconds.labels(scope["method"], template).observe(time.perf_counter() - started)
