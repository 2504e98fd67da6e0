"""Is it alive, and how busy: /health for load balancers, /metrics for Prometheus."""

from __future__ import annotations

from importlib.metadata import version

import sqlalchemy as sa
from fastapi import APIRouter, Response

from api.json import ExactJSON
from api.routing import State, declared
from ingest.errors import StoreUnavailable

router = APIRouter()

_HEALTHY = {"status": "ok", "version": "0.1.0", "event_store": "ok", "ledger": "ok"}


@router.get(
    "/health",
    **declared(
        "health",
        None,
        summary="Whether both stores answer",
        tag="operation",
        example=_HEALTHY,
        problems=(503,),
    ),
)
def health(state: State) -> ExactJSON:
    """Asks both stores. Needs no key and tells nothing but their names."""
    try:
        state.event_store.command("SELECT 1")
    except Exception as error:
        raise StoreUnavailable("the event store does not answer; the server's log says why.") from error
    try:
        with state.ledger.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable("the ledger does not answer; the server's log says why.") from error
    return ExactJSON({**_HEALTHY, "version": version("ratemill")})


@router.get(
    "/metrics",
    **declared(
        "metrics",
        "read",
        summary="Prometheus metrics",
        tag="operation",
        media={"text/plain": "ratemill_events_total 0\n"},
    ),
)
def metrics(state: State) -> Response:
    """Requests and durations by route, events by outcome, the ingest queue and its commits."""
    return Response(state.metrics.text(), media_type="text/plain; version=0.0.4")
