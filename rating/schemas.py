"""The published JSON schemas of the documents people write."""

from __future__ import annotations

from typing import Any, Final

from ingest.document import Document
from ingest.errors import NotFound
from ingest.meter import Meter
from rating.contract import Contract
from rating.price_plan import PricePlan

DOCUMENT_MODELS: Final[dict[str, type[Document]]] = {
    "price-plan": PricePlan,
    "contract": Contract,
    "meter": Meter,
}


def document_schema(kind: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of price-plan, contract or meter documents. Raises NotFound."""
    model = DOCUMENT_MODELS.get(kind)
    if model is None:
        raise NotFound(f"there is no document kind {kind!r}; there are {', '.join(sorted(DOCUMENT_MODELS))}.")
    schema = model.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
