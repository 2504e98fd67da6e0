"""Builds the HTTP application: routes, errors, metrics, and the description of all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import anyio.to_thread
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.types import Receive, Scope, Send

from api.direct_ingest import DirectIngest
from api.errors import AnswerUnexpected, install_error_handlers
from api.examples import DOCUMENT_EXAMPLES
from api.metrics import CountRequests
from api.routes import ROUTERS
from api.routes.events import INGEST_OPENAPI, INGEST_PATH, ingest_route
from api.routing import SCHEMA_REFERENCE, documented_problem
from api.state import Ratemill

DESCRIPTION: Final = """Usage metering and rating: events in, exact and explained invoice lines out.

Numbers that matter are texts (`"12.50"`), never binary floats. Instants are UTC, periods are
half-open `[start, end)`. Every error is an RFC 9457 problem document with a stable `reason_code`.
"""
TAGS: Final = [
    {"name": "events", "description": "Usage and licence events: sent in bulk, counted once for ever."},
    {"name": "catalogue", "description": "Meters and price plans."},
    {"name": "contracts", "description": "Customers and their contracts."},
    {"name": "sales", "description": "What is offered: the catalogue, and what was ordered of it."},
    {"name": "crm", "description": "What a CRM tells of, by signed webhook or in bulk."},
    {"name": "reviews", "description": "Drafts that people look at before they are issued."},
    {"name": "tax", "description": "Who sends invoices, tax rates, what countries ask for."},
    {"name": "usage", "description": "What was counted, live."},
    {"name": "entitlements", "description": "May a customer use more."},
    {"name": "prices", "description": "What something would cost."},
    {"name": "billing", "description": "Billing runs and invoices."},
    {"name": "items", "description": "Billable items, and everything that is not billed yet."},
    {"name": "credits", "description": "Prepaid credit: grants, what was drawn, what is left."},
    {"name": "journal", "description": "Double entry: what is recognised, billed, collected and owed."},
    {"name": "payments", "description": "Money received, and what it pays."},
    {"name": "audit", "description": "Who changed what, when and why."},
    {"name": "delivery", "description": "Documents sent to customers, and what comes back."},
    {"name": "lines", "description": "From an invoice line down to its events."},
    {"name": "keys", "description": "API keys."},
    {"name": "compatible", "description": "The same doors for clients of OpenMeter, Lago and Stripe."},
    {"name": "operation", "description": "Health, metrics, schemas."},
]


class Application(FastAPI):
    """FastAPI with one door in front of it."""

    def __init__(self, state: Ratemill, **settings: Any) -> None:
        super().__init__(**settings)
        self._ingest = DirectIngest(state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == INGEST_PATH:
            await self._ingest(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(state: Ratemill) -> FastAPI:
    """The application on ``state``; whoever opened the state closes it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Each thread has its own store client, so their number is a bound on memory too.
        anyio.to_thread.current_default_thread_limiter().total_tokens = state.settings.threads
        yield

    app = Application(
        state,
        title="Ratemill",
        version=version("ratemill"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,  # the usual pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.ratemill = state
    install_error_handlers(app)
    # Never called for POST, which ``DirectIngest`` answers; here so that other methods hear of it.
    app.router.routes.append(ingest_route())
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(AnswerUnexpected)
    app.add_middleware(CountRequests, metrics=state.metrics)
    _describe_bare_route(app)
    return app


def _describe_bare_route(app: FastAPI) -> None:
    draw = app.openapi

    def openapi() -> dict[str, Any]:
        described = draw()
        described["paths"].setdefault(INGEST_PATH, {}).setdefault("post", INGEST_OPENAPI)
        components = described.setdefault("components", {})
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key, rm_..."}
        }
        # FastAPI describes refusals in a shape of its own; ours all have the one of problem documents.
        components["schemas"] = _document_schemas()
        for operations in described["paths"].values():
            for operation in operations.values():
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    operation["responses"]["422"] = documented_problem(422)
                if operation.get("x-scope"):
                    operation["security"] = [{"key": []}]
        return described

    app.openapi = openapi  # type: ignore[method-assign]


def _document_schemas() -> dict[str, Any]:
    """The models of documents and all they are made of, by name."""
    _, definitions = models_json_schema(
        [(model, "validation") for _, model in DOCUMENT_EXAMPLES], ref_template=SCHEMA_REFERENCE
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
