"""The sales catalogue: products, services and bundles, price lists, promotions."""

from __future__ import annotations

from typing import Any, Final

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

_PRODUCT: Final = {"product_id": "jet-bridge", "version": 1, "document": PRODUCT}
_PRICE_LIST: Final = {"price_list_id": "partners", "version": 1, "document": PRICE_LIST}
_PROMOTION: Final = {"promotion_id": "spring", "version": 1, "document": PROMOTION}


@router.put(
    "/v1/products/{product_id}",
    **declared(
        "put_product",
        "admin",
        summary="Save a product, service or bundle",
        tag="sales",
        status=201,
        example={"product_id": "jet-bridge", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": PRODUCT},
    ),
)
def put_product(state: State, product_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says it is on record like this. Quotes priced before stay as they are."""
    return _put(state, PRODUCTS, product_id, body, actor)


@router.get(
    "/v1/products",
    **declared(
        "list_products",
        "read",
        summary="The catalogue",
        tag="sales",
        example={"items": [_PRODUCT], "next_cursor": None},
        problems=(422,),
    ),
)
def list_products(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PRODUCTS, limit, cursor)


@router.get(
    "/v1/products/{product_id}",
    **declared(
        "get_product",
        "read",
        summary="One product, service or bundle",
        tag="sales",
        example=_PRODUCT,
        problems=(404,),
    ),
)
def get_product(state: State, product_id: str) -> ExactJSON:
    """As it is in force."""
    return _get(state, PRODUCTS, product_id)


@router.put(
    "/v1/price-lists/{price_list_id}",
    **declared(
        "put_price_list",
        "admin",
        summary="Save a price list",
        tag="sales",
        status=201,
        example={"price_list_id": "partners", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": PRICE_LIST},
    ),
)
def put_price_list(state: State, price_list_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Its prices hold instead of the catalogue's for quotes that name it."""
    return _put(state, PRICE_LISTS, price_list_id, body, actor)


@router.get(
    "/v1/price-lists",
    **declared(
        "list_price_lists",
        "read",
        summary="All price lists",
        tag="sales",
        example={"items": [_PRICE_LIST], "next_cursor": None},
        problems=(422,),
    ),
)
def list_price_lists(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PRICE_LISTS, limit, cursor)


@router.get(
    "/v1/price-lists/{price_list_id}",
    **declared(
        "get_price_list", "read", summary="One price list", tag="sales", example=_PRICE_LIST, problems=(404,)
    ),
)
def get_price_list(state: State, price_list_id: str) -> ExactJSON:
    """As it is in force."""
    return _get(state, PRICE_LISTS, price_list_id)


@router.put(
    "/v1/promotions/{promotion_id}",
    **declared(
        "put_promotion",
        "admin",
        summary="Save a promotion",
        tag="sales",
        status=201,
        example={"promotion_id": "spring", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": PROMOTION},
    ),
)
def put_promotion(state: State, promotion_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Off list prices, for quotes that name it. A quote keeps the promotion as it was on its day."""
    return _put(state, PROMOTIONS, promotion_id, body, actor)


@router.get(
    "/v1/promotions",
    **declared(
        "list_promotions",
        "read",
        summary="All promotions",
        tag="sales",
        example={"items": [_PROMOTION], "next_cursor": None},
        problems=(422,),
    ),
)
def list_promotions(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id, in force."""
    return _list(state, PROMOTIONS, limit, cursor)


@router.get(
    "/v1/promotions/{promotion_id}",
    **declared(
        "get_promotion", "read", summary="One promotion", tag="sales", example=_PROMOTION, problems=(404,)
    ),
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
        found = kind.load(connection)
    items = [
        {kind.field: key, "version": stored.version, "document": stored.document}
        for key, stored in found.items()
        if key > after
    ]
    return ExactJSON(page(items[: limit + 1], limit=limit, position=lambda item: (item[kind.field],)))


def _get(state: Ratemill, kind: DocumentKind[Any], key: str) -> ExactJSON:
    stored = kind.get(state.ledger, key)
    return ExactJSON({kind.field: key, "version": stored.version, "document": stored.document})
