"""The sales catalogue: products, services and bundles, price lists, promotions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.documents import keyed_document, saved_answer
from api.examples import PRICE_LIST, PRODUCT, PROMOTION, SAVED_VERSION
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from api.state import Ratemill
from invoicing.audit_saved import entered_by
from invoicing.sales.catalogue import PRICE_LISTS, PRODUCTS, PROMOTIONS
from invoicing.saved_document import DocumentKind

router = APIRouter()


def _saving(kind: DocumentKind[Any], example: dict[str, Any], summary: str) -> dict[str, Any]:
    return declared(
        f"put_{kind.name}",
        "admin",
        summary=summary,
        tag="sales",
        status=201,
        example={kind.field: example[kind.field], **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": example},
    )


def _listing(kind: DocumentKind[Any], example: dict[str, Any], summary: str) -> dict[str, Any]:
    return declared(
        f"list_{kind.name}s",
        "read",
        summary=summary,
        tag="sales",
        example={"items": [_stored(kind, example)], "next_cursor": None},
        problems=(422,),
    )


def _showing(kind: DocumentKind[Any], example: dict[str, Any], summary: str) -> dict[str, Any]:
    return declared(
        f"get_{kind.name}",
        "read",
        summary=summary,
        tag="sales",
        example=_stored(kind, example),
        problems=(404,),
    )


def _stored(kind: DocumentKind[Any], example: dict[str, Any]) -> dict[str, Any]:
    return {kind.field: example[kind.field], "version": 1, "document": example}


@router.put(
    "/v1/products/{product_id}",
    **_saving(PRODUCTS, PRODUCT, "Save a product, service or bundle"),
)
def put_product(state: State, product_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. Quotes priced before stay as they are."""
    return _put(state, PRODUCTS, product_id, body, actor)


@router.get(
    "/v1/products",
    **_listing(PRODUCTS, PRODUCT, "The catalogue"),
)
def list_products(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PRODUCTS, limit, cursor)


@router.get(
    "/v1/products/{product_id}",
    **_showing(PRODUCTS, PRODUCT, "One product, service or bundle"),
)
def get_product(state: State, product_id: str) -> ExactJSON:
    """As it is in force."""
    return _get(state, PRODUCTS, product_id)


@router.put(
    "/v1/price-lists/{price_list_id}",
    **_saving(PRICE_LISTS, PRICE_LIST, "Save a price list"),
)
def put_price_list(state: State, price_list_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Its prices hold instead of the catalogue's for quotes that name it."""
    return _put(state, PRICE_LISTS, price_list_id, body, actor)


@router.get(
    "/v1/price-lists",
    **_listing(PRICE_LISTS, PRICE_LIST, "All price lists"),
)
def list_price_lists(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PRICE_LISTS, limit, cursor)


@router.get(
    "/v1/price-lists/{price_list_id}",
    **_showing(PRICE_LISTS, PRICE_LIST, "One price list"),
)
def get_price_list(state: State, price_list_id: str) -> ExactJSON:
    """As it is in force."""
    return _get(state, PRICE_LISTS, price_list_id)


@router.put(
    "/v1/promotions/{promotion_id}",
    **_saving(PROMOTIONS, PROMOTION, "Save a promotion"),
)
def put_promotion(state: State, promotion_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Off list prices, for quotes that name it. A quote keeps the promotion as it was on its day."""
    return _put(state, PROMOTIONS, promotion_id, body, actor)


@router.get(
    "/v1/promotions",
    **_listing(PROMOTIONS, PROMOTION, "All promotions"),
)
def list_promotions(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PROMOTIONS, limit, cursor)


@router.get(
    "/v1/promotions/{promotion_id}",
    **_showing(PROMOTIONS, PROMOTION, "One promotion"),
)
def get_promotion(state: State, promotion_id: str) -> ExactJSON:
    """As it is in force."""
    return _get(state, PROMOTIONS, promotion_id)


def _put(state: Ratemill, kind: DocumentKind[Any], key: str, body: bytes, actor: str) -> ExactJSON:
    document = keyed_document(body, field=kind.field, key=key, what=kind.words)
    now = state.clock.now()
    entered = entered_by(actor, kind.name, now=now)
    return saved_answer(kind.field, kind.save(state.ledger, document, now=now, entered=entered))


def _list(state: Ratemill, kind: DocumentKind[Any], limit: int, cursor: str | None) -> ExactJSON:
    position = read_cursor(cursor, fields=1)
    after = "" if position is None else str(position[0])
    with state.ledger.connect() as connection:
        found = kind.page(connection, after=after, limit=limit + 1)
    items = [
        {kind.field: key, "version": stored.version, "document": stored.document}
        for key, stored in found.items()
    ]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item[kind.field],)))


def _get(state: Ratemill, kind: DocumentKind[Any], key: str) -> ExactJSON:
    stored = kind.get(state.ledger, key)
    return ExactJSON({kind.field: key, "version": stored.version, "document": stored.document})
