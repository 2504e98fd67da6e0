"""Endpoints that speak the wire format of other metering products, so that their clients work unmodified.

They are one more way to the same door: what they read is brought to CloudEvents and taken in as
POST /v1/events takes it, with the same identity, reasons and durability. docs/clients.md tells users how.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api.compatible import event_list, events, meter_events, meters

ROUTERS: Final[tuple[APIRouter, ...]] = (events.router, event_list.router, meters.router, meter_events.router)
