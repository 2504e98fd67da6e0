"""Where a party of an e-invoice is reached, and what documents leave out when it is not said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import Field

from ingest.errors import Issue

EndpointId = Annotated[str, Field(max_length=128)]
EndpointScheme = Annotated[str, Field(pattern=r"^([0-9]{4}|[A-Z]{2})?$")]
"""A code of the list EAS (Electronic Address Scheme), like 0088 for a GLN."""
SELDOM: Final = ("endpoint_id", "endpoint_scheme", "buyer_reference", "contact_name")


def endpoint_issues(endpoint_id: str, endpoint_scheme: str) -> Iterator[Issue]:
    """An electronic address is an id with the scheme it is of (BT-34, BT-49); neither is said alone."""
    if bool(endpoint_id) != bool(endpoint_scheme):
        yield Issue(
            "endpoint_half_said",
            "endpoint_scheme" if endpoint_id else "endpoint_id",
            f"The electronic address is {endpoint_id!r} of scheme {endpoint_scheme!r}.",
            "both or neither: an id, and the EAS code of its scheme, like 0088 for a GLN.",
        )


def without_unsaid(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the fields of e-invoices that say nothing, so that documents and invoices from
    before there were any have the text they had."""
    return {name: value for name, value in document.items() if value or name not in SELDOM}
