"""Price plans in the ledger: saved as versions, never edited.

Saving a document that already stands changes nothing and answers ``created=False``. "Already
stands" means: the version last saved for the same ``effective_from`` has this very text; so
applying a folder of plan files again is harmless, while going back to an earlier price on
purpose, for the same date, makes a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import Issue, NotFound
from ingest.ledger import ledger_transaction, reading
from ingest.meter import Meter
from ingest.meter_store import list_meters
from rating.contract_store import (
    ContractVersion,
    contract_history,
    get_contract,
    load_contract_ids,
    load_contract_subjects,
    load_contracts,
    save_contract,
    save_contracts,
)
from rating.plan_overrides import overridden_charge_issues
from rating.plan_rules import price_plan_rules
from rating.plan_version import Entered, PlanVersion, SavedDocument, version_in_force
from rating.plan_warnings import price_plan_warnings
from rating.price_plan import PricePlan
from rating.shared_subjects import shared_subject_issues
from rating.tables import PRICE_PLAN_VERSIONS

__all__ = [
    "ContractVersion",
    "PlanVersion",
    "PlanVersionEntry",
    "SavedDocument",
    "check_price_plan",
    "contract_history",
    "get_contract",
    "get_plan_in_force",
    "get_plan_version",
    "list_plan_versions",
    "load_contract_ids",
    "load_contract_subjects",
    "load_contracts",
    "load_plan_versions",
    "save_contract",
    "save_contracts",
    "save_price_plan",
    "version_in_force",
]


FurtherPlanRules = Callable[[Connection, PricePlan], Iterable[Issue]]
"""What other rooms hold against a plan version that would be new."""


@dataclass(frozen=True, slots=True)
class PlanVersionEntry:
    """One line of a plan's history, without its document."""

    plan_id: str
    version: int
    effective_from: date
    document_hash: str
    created_at: str


def save_price_plan(
    engine: Engine,
    document: PricePlan | Mapping[str, Any],
    *,
    now: datetime,
    further_rules: FurtherPlanRules | None = None,
    entered: Entered | None = None,
) -> SavedDocument:
    """Check every rule and save a new version if the document is new; the answer holds what of it is
    allowed but seldom meant.

    document: the model, or the mapping as read by ``read_document``. further_rules: asked inside
    the transaction when the version would be new. entered: called inside it with what was saved.
    Raises InvalidDocument with every broken rule;
    then nothing was saved. Meters it names must be saved before it.
    """
    meters = {meter.meter_id: meter for meter in list_meters(engine)}
    data = document.model_dump() if isinstance(document, PricePlan) else dict(document)
    with ledger_transaction(engine) as connection:
        history = _history(connection, str(data.get("plan_id", "")))
        currency = _currency(connection, str(data.get("plan_id", "")))

        def rules(parsed: PricePlan) -> Iterator[Issue]:
            yield from _rules(parsed, meters=meters, currency=currency)
            if _standing(connection, history, parsed) is None:
                yield from shared_subject_issues(connection, parsed)
                yield from overridden_charge_issues(connection, parsed, meters=meters)
                yield from () if further_rules is None else further_rules(connection, parsed)

        plan = validate_document(PricePlan, data, what=f"price plan {data.get('plan_id', '')!r}", rules=rules)
        warnings = tuple(price_plan_warnings(plan))
        standing = _standing(connection, history, plan)
        if standing is not None:
            return SavedDocument(plan.plan_id, standing.version, created=False, warnings=warnings)
        version = history[-1].version + 1 if history else 1
        connection.execute(
            insert(PRICE_PLAN_VERSIONS),
            {
                "plan_id": plan.plan_id,
                "version": version,
                "effective_from": plan.effective_from.isoformat(),
                "document": canonical_json(plan),
                "document_hash": document_hash(plan),
                "created_at": now.isoformat(),
            },
        )
        saved = SavedDocument(plan.plan_id, version, created=True, warnings=warnings)
        if entered is not None:
            entered(connection, [saved])
    return saved


def check_price_plan(
    connection: Connection, document: Mapping[str, Any], *, meters: Mapping[str, Meter]
) -> PricePlan:
    """The plan in a document that is not to be saved, under the rules of ``save_price_plan``, except that a
    day already billed does not matter.

    Raises InvalidDocument with every broken rule, also when no plan of that id was ever saved.
    """
    plan_id = str(document.get("plan_id", ""))
    currency = _currency(connection, plan_id)

    def rules(parsed: PricePlan) -> Iterator[Issue]:
        yield from _rules(parsed, meters=meters, currency=currency)
        if currency is None:
            yield Issue(
                "plan_unknown",
                "plan_id",
                f"No price plan {plan_id!r} was ever saved, so no contract is on it.",
                "the plan_id of a saved plan, as `ratemill plan list` shows them.",
            )
        yield from shared_subject_issues(connection, parsed)
        yield from overridden_charge_issues(connection, parsed, meters=meters)

    return validate_document(PricePlan, dict(document), what=f"price plan {plan_id!r}", rules=rules)


def list_plan_versions(engine: Engine, plan_id: str | None = None) -> list[PlanVersionEntry]:
    """The history of one plan (or of all), by plan and version. Empty when nothing was saved."""
    with engine.connect() as connection:
        return _history(connection, plan_id)


def load_plan_versions(ledger: Engine | Connection) -> tuple[PlanVersion, ...]:
    """Every version of every plan, parsed, by plan and version: what a billing run compiles."""
    table = PRICE_PLAN_VERSIONS
    query = select(table.c.document, table.c.version).order_by(table.c.plan_id, table.c.version)
    with reading(ledger) as connection:
        rows = connection.execute(query).all()
    return tuple(PlanVersion(_parsed(text), version) for text, version in rows)


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> PricePlan:
    """A stored plan never changes, and neither does what it is parsed to: 200 plans take 0.2 s."""
    return PricePlan.model_validate_json(text)


def get_plan_version(engine: Engine, plan_id: str, version: int | None = None) -> PlanVersion:
    """One version of a plan, the one saved last unless ``version`` says which. Raises NotFound."""
    table = PRICE_PLAN_VERSIONS
    query = select(table.c.document, table.c.version).where(table.c.plan_id == plan_id)
    if version is not None:
        query = query.where(table.c.version == version)
    with engine.connect() as connection:
        row = connection.execute(query.order_by(table.c.version.desc()).limit(1)).first()
    if row is None:
        named = f"price plan {plan_id!r}" + ("" if version is None else f" version {version}")
        raise NotFound(f"{named} is not in the catalogue. `ratemill plan list` shows what is.")
    return PlanVersion(PricePlan.model_validate_json(row[0]), row[1])


def get_plan_in_force(engine: Engine, plan_id: str, *, on: date) -> PlanVersion:
    """The version that prices the day ``on``. Raises NotFound before the first effective date."""
    table = PRICE_PLAN_VERSIONS
    query = select(table.c.document, table.c.version).where(table.c.plan_id == plan_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    versions = [PlanVersion(PricePlan.model_validate_json(text), version) for text, version in rows]
    found = version_in_force(versions, plan_id=plan_id, on=on)
    if found is None:
        raise NotFound(f"price plan {plan_id!r} has no version in force on {on.isoformat()}.")
    return found


def _standing(
    connection: Connection, history: Sequence[PlanVersionEntry], plan: PricePlan
) -> PlanVersionEntry | None:
    """The version that is this very document: the one saved last for its date, or none."""
    last = next((entry for entry in reversed(history) if entry.effective_from == plan.effective_from), None)
    if last is None or last.document_hash == document_hash(plan):
        return last
    # A document kept before a field was known is compared as it would be kept today: the same file
    # sent again is not a new version because Ratemill was installed anew.
    table = PRICE_PLAN_VERSIONS
    query = select(table.c.document).where(table.c.plan_id == last.plan_id, table.c.version == last.version)
    kept = PricePlan.model_validate_json(connection.execute(query).scalar_one())
    return last if document_hash(kept) == document_hash(plan) else None


def _history(connection: Connection, plan_id: str | None) -> list[PlanVersionEntry]:
    table = PRICE_PLAN_VERSIONS
    query = select(
        table.c.plan_id, table.c.version, table.c.effective_from, table.c.document_hash, table.c.created_at
    ).order_by(table.c.plan_id, table.c.version)
    if plan_id is not None:
        query = query.where(table.c.plan_id == plan_id)
    return [
        PlanVersionEntry(key, version, date.fromisoformat(effective_from), digest, created_at)
        for key, version, effective_from, digest, created_at in connection.execute(query)
    ]


def _rules(plan: PricePlan, *, meters: Mapping[str, Meter], currency: str | None) -> Iterator[Issue]:
    yield from price_plan_rules(plan, meters=meters)
    if currency is not None and currency != plan.currency:
        yield Issue(
            "currency_changed",
            "currency",
            f"Saved versions are priced in {currency}, this one in {plan.currency}.",
            f"{currency}, or a new plan_id: an invoice has one currency.",
        )


def _currency(connection: Connection, plan_id: str) -> str | None:
    table = PRICE_PLAN_VERSIONS
    query = select(table.c.document).where(table.c.plan_id == plan_id).limit(1)
    text = connection.execute(query).scalar_one_or_none()
    return None if text is None else PricePlan.model_validate_json(text).currency
