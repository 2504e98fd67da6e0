"""Stored usage: how far it is, adding up what is missing, and the proof that it is right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.routing import State, declared
from api.state import Ratemill
from invoicing.open_usage import keep_open_usage
from rollup.verify import verify_stored_usage

router = APIRouter()

_STATUS: Final[dict[str, Any]] = {"sequence": 336803, "behind": 0, "periods": 192, "meters": 6}
_VERIFIED: Final[dict[str, Any]] = {
    "sequence": 336803,
    "periods": 192,
    "archived": 0,
    "rows": 1201,
    "differences": 0,
    "shown": [],
}


@router.get(
    "/v1/rollups",
    **declared("rollup_status", "read", summary="How far stored usage is", tag="usage", example=_STATUS),
)
def rollup_status(state: State) -> ExactJSON:
    """`behind` counts events stored since; whoever reads stored usage adds them first, so no answer and
    no bill is behind. `periods` counts a period once for each subject."""
    return ExactJSON(_status(state))


@router.post(
    "/v1/rollups/refresh",
    **declared("refresh_rollups", "bill", summary="Add up usage now", tag="usage", example=_STATUS),
)
def refresh_rollups(state: State) -> ExactJSON:
    """Of every period that has begun and is not billed. A server does it by itself in the background."""
    keep_open_usage(state.stored_usage, ledger=state.ledger, now=state.clock.now())
    return ExactJSON(_status(state))


@router.post(
    "/v1/rollups/verify",
    **declared("verify_rollups", "read", summary="Prove stored usage", tag="usage", example=_VERIFIED),
)
def verify_rollups(state: State) -> ExactJSON:
    """Counts all of it again from events and compares every figure; changes nothing. `shown` has the first
    hundred differences. `archived` periods have events in files and cannot be counted again."""
    return ExactJSON(asdict(verify_stored_usage(state.stored_usage)))


def _status(state: Ratemill) -> dict[str, Any]:
    return asdict(state.stored_usage.freshness())
