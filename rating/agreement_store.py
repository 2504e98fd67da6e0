"""Agreements in the ledger: their documents by content, and which contract has which from when on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from sqlalchemy import Connection, Engine, delete, insert, select

from ingest.document import canonical_json
from ingest.errors import NotFound
from rating.agreement import AgreedSegment, Agreement
from rating.agreement_dates import agreed_segments, agreements_by_day
from rating.contract import Contract
from rating.contract_columns import rows_of
from rating.tables import AGREEMENTS, CONTRACT_AGREEMENTS

_KEYS_PER_QUERY = 500  # far under the variable limits of both databases


def forget_agreements(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the segments of the contracts away; the agreements themselves stay for ever. At most
    ``_KEYS_PER_QUERY`` ids."""
    connection.execute(delete(CONTRACT_AGREEMENTS).where(CONTRACT_AGREEMENTS.c.contract_id.in_(contract_ids)))


def write_agreements(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep what the contracts agree: their segments, and each agreement that is new."""
    documents: dict[str, str] = {}
    rows = []
    for contract in contracts:
        segments = agreed_segments(contract)
        if not segments:
            continue
        documents |= {
            agreement.key(): canonical_json(agreement)
            for _, agreement in agreements_by_day(contract)
            if agreement != Agreement()
        }
        rows += [
            {
                "contract_id": contract.contract_id,
                "effective_from": segment.effective_from.isoformat(),
                "plan_id": segment.plan_id,
                "agreement_key": segment.agreement_key,
            }
            for segment in segments
        ]
    _write_new(connection, documents)
    if rows:
        connection.execute(insert(CONTRACT_AGREEMENTS), rows)


def write_agreement_documents(connection: Connection, agreements: Mapping[str, Agreement]) -> None:
    """Keep the agreements, by key; those on record are left as they are."""
    _write_new(connection, {key: canonical_json(agreement) for key, agreement in agreements.items()})


def _write_new(connection: Connection, documents: Mapping[str, str]) -> None:
    known = _documents(connection, sorted(documents))
    new = [
        {"agreement_key": key, "document": text}
        for key, text in sorted(documents.items())
        if key not in known
    ]
    if new:
        connection.execute(insert(AGREEMENTS), new)


def load_segments(
    connection: Connection, contract_ids: Sequence[str] | None = None
) -> dict[str, tuple[AgreedSegment, ...]]:
    """The segments of the contracts in force (all, or those named), each contract's in order. Contracts
    that take their plan as it is are left out."""
    rows = rows_of(
        connection, CONTRACT_AGREEMENTS, None if contract_ids is None else sorted(set(contract_ids))
    )
    found: dict[str, list[AgreedSegment]] = {}
    for contract_id, effective_from, plan_id, key in rows:
        segment = AgreedSegment(date.fromisoformat(effective_from), plan_id, key)
        found.setdefault(contract_id, []).append(segment)
    return {contract_id: tuple(segments) for contract_id, segments in found.items()}


def load_agreements(connection: Connection, keys: Iterable[str]) -> dict[str, Agreement]:
    """The agreements with these keys, by key; the empty key has none."""
    texts = _documents(connection, sorted({key for key in keys if key}))
    return {key: Agreement.model_validate_json(text) for key, text in texts.items()}


def get_agreement(ledger: Engine, key: str) -> Agreement:
    """One agreement; nothing agreed for the empty key. Raises NotFound."""
    if not key:
        return Agreement()
    with ledger.connect() as connection:
        found = load_agreements(connection, [key])
    if key not in found:
        raise NotFound(f"agreement {key!r} is not on record; restore the ledger the line was rated with.")
    return found[key]


def _documents(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    query = select(AGREEMENTS.c.agreement_key, AGREEMENTS.c.document)
    return {
        key: text
        for part in _parts(keys)
        for key, text in connection.execute(query.where(AGREEMENTS.c.agreement_key.in_(part)))
    }


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _KEYS_PER_QUERY] for start in range(0, len(keys), _KEYS_PER_QUERY))
