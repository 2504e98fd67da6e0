"""How a CRM speaks: an adapter checks who sent a webhook and translates it into changes.

``StandardAdapter`` is the reference: signed as Standard Webhooks says, with changes as they are. An adapter
for a CRM that speaks otherwise is a class with the same two methods in a package of its own, announced under
the entry point group ``ratemill.crm_adapters``; it must pass ``tests/invoicing/test_crm_contract.py``
and ``test_crm_deliveries.py``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from standardwebhooks import Webhook

from ingest.document import read_documents
from ingest.errors import Forbidden, InvalidInput

ENTRY_POINTS: Final = "ratemill.crm_adapters"
STANDARD: Final = "standard"
TOLERANCE: Final = timedelta(minutes=5)
"""How old or early a signature may be; what is resent is signed anew."""

_STAMP_DIGITS_MAX: Final = 11
"""Of seconds since 1970: until the year 5138, which a datetime can be."""


class CrmAdapter(Protocol):
    """One dialect. Header names are in lower case."""

    def verify(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        """Raises Forbidden when the body does not come from who knows the secret, or is not of now."""

    def read(self, body: bytes) -> Sequence[Any]:
        """The changes in it, as mappings like ``CrmChange``. Raises UnreadableBody."""


@dataclass(frozen=True, slots=True)
class StandardAdapter:
    """The reference: Standard Webhooks; the body is a change, or has several in ``changes``."""

    def verify(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not stamp.isdecimal() or len(stamp) > _STAMP_DIGITS_MAX or not message_id:
            raise not_signed("webhook-id or webhook-timestamp is missing or no number of seconds")
        sent_at = datetime.fromtimestamp(int(stamp), tz=UTC)
        if abs(now - sent_at) > TOLERANCE:
            raise not_signed(f"it was signed at {sent_at.isoformat()}, more than five minutes from now")
        # Not the library's ``verify``: that has a clock of its own.
        expected = Webhook(secret).sign(message_id, sent_at, body.decode("utf-8", "replace"))
        given = headers.get("webhook-signature", "").split(" ")
        if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in given):
            raise not_signed("no signature in webhook-signature fits")

    def read(self, body: bytes) -> Sequence[Any]:
        found: list[Any] = []
        for document in read_documents(body):
            changes = document.get("changes", [document])
            found += changes if isinstance(changes, list) else [changes]
        return found


def crm_secret(secret: str, system: str) -> str:
    """What a system signs its webhooks with, as Standard Webhooks writes it; derived, so nothing holds it."""
    key = hmac.new(secret.encode(), f"ratemill crm\n{system}".encode(), hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


def find_adapter(system: str, chosen: str) -> CrmAdapter:
    """The adapter of a system. chosen: ``SYSTEM=ADAPTER,...``; a system that is not in it speaks the
    reference dialect. Raises InvalidInput for an adapter that is not installed."""
    names = dict(part.strip().split("=", 1) for part in chosen.split(",") if part.strip())
    name = names.get(system, STANDARD)
    if name == STANDARD:
        return StandardAdapter()
    found = [entry for entry in entry_points(group=ENTRY_POINTS) if entry.name == name]
    if not found:
        raise InvalidInput(
            f"the adapter {name!r} of {system!r} is not installed: no package announces it as "
            f"{ENTRY_POINTS}.",
            reason_code="crm_adapter_unknown",
        )
    adapter: CrmAdapter = found[0].load()()
    return adapter


def not_signed(why: str) -> Forbidden:
    """The refusal of a webhook whose sender is not known."""
    return Forbidden(
        f"the webhook is not signed as it must be: {why}. `ratemill crm secret SYSTEM` shows what to "
        "sign with.",
        reason_code="crm_signature",
    )
