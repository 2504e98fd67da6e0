"""Prometheus metrics of one application, and the middleware that counts its requests.

The registry belongs to the application, not to the process, so two applications never mix.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER_ROUTE = "(no route)"


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
        self.events = Counter(
            "ratemill_events", "Records of event batches by outcome.", ["outcome"], registry=self.registry
        )
        self.corrections = Counter(
            "ratemill_corrections",
            "Records of correction batches by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.identities = Gauge(
            "ratemill_event_identities", "Event identities held in memory.", registry=self.registry
        )

    def text(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)


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
