"""Changes of the event store in the audit trail, which is in the ledger.

The two are two stores, so a change is entered when it has taken effect: whoever is killed in between has the
change on record in the event store, with its reason. Sent again it changes nothing there and is entered here,
except for corrections, of which only those that are accepted are entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.state import Ratemill
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, State, record_changes

CORRECTIONS: Final = "corrections"
BACKFILL: Final = "backfill"
ARCHIVE: Final = "archive"
REFUSED_EVENT: Final = "refused_event"


def enter_changes(
    state: Ratemill,
    *,
    actor: str,
    action: str,
    kind: str,
    object_ids: Sequence[str],
    after: State | None = None,
    reason: str = "",
) -> None:
    """Enter what ``actor`` did to events, an entry an object."""
    changes = [Change(actor, action, kind, object_id, None, after, reason) for object_id in object_ids]
    with ledger_transaction(state.ledger) as connection:
        record_changes(connection, changes, now=state.clock.now())
