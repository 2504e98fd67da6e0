"""The parameters of a URL: one that a route does not have is refused, as an unknown field of a body is."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant

from ingest.errors import InvalidInput

_OTHERS_CLIENTS: Final = ("/api/", "/v1/billing/")
"""Routes for clients of other products, which send what they know."""


async def refuse_unknown_parameters(request: Request) -> None:
    """A mistyped ``date_from`` must not be answered as if there were none.

    Raises InvalidInput (unknown_parameter).
    """
    sent = request.query_params
    if not sent or request.url.path.startswith(_OTHERS_CLIENTS):
        return
    known = _names(request.scope["route"].dependant)
    unknown = sorted(set(sent) - known)
    if unknown:
        names = ", ".join(sorted(known)) if known else "no parameters"
        raise InvalidInput(
            f"{request.url.path} does not know {', '.join(map(repr, unknown))}. It takes {names}.",
            reason_code="unknown_parameter",
        )


def _names(dependant: Dependant) -> set[str]:
    """Of the route and all it depends on."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_names(each) for each in dependant.dependencies))
