"""How long records have to be kept, and what is on record of each year.

The rule is the billing entity's own ``retention_years``, else that of the profile of its country, else ten
years. They count from the end of the year of issue. Until then and after it nothing is deleted: triggers of
the database refuse it for documents, their lines, the register, files that were sent, the journal and the
audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from invoicing.audit_tables import AUDIT_ENTRIES
from invoicing.billing_entity import BILLING_ENTITIES, BillingEntity
from invoicing.country_profile import COUNTRY_PROFILES, CountryProfile, retention_in
from invoicing.tables import ISSUED_DOCUMENTS

YEARS_WITHOUT_RULE: Final = 10
ARCHIVED: Final = "archived"
YEAR_ARCHIVE: Final = "year_archive"
"""Action and kind of object in the audit trail."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """years: after the end of the year of issue. words: where the rule comes from."""

    years: int
    words: str

    def kept_until(self, year: int) -> date:
        """The last day on which documents issued in that year must be there."""
        return date(year + self.years, 12, 31)


@dataclass(frozen=True, slots=True)
class RetainedYear:
    """Documents of an entity issued in a year; entity_id None: of no entity. archived_at: when the last
    archive of it was made, ISO 8601 in UTC; None: never."""

    entity_id: str | None
    year: int
    documents: int
    rule: RetentionRule
    archived_at: str | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "entity_id": self.entity_id,
            "year": self.year,
            "documents": self.documents,
            "retention_years": self.rule.years,
            "kept_until": self.rule.kept_until(self.year),
            "rule": self.rule.words,
            "archived_at": self.archived_at,
        }


def retention_rule(
    entity: BillingEntity | None, saved_profiles: Mapping[str, CountryProfile]
) -> RetentionRule:
    """The rule for documents of an entity, or of none."""
    if entity is not None and entity.retention_years is not None:
        return RetentionRule(entity.retention_years, f"billing entity {entity.entity_id}")
    found = None if entity is None else retention_in(entity.country, saved_profiles)
    if found is not None:
        return RetentionRule(found.years, found.words)
    return RetentionRule(YEARS_WITHOUT_RULE, "no rule on record: ten years")


def load_retention_rule(connection: Connection, entity_id: str | None) -> RetentionRule:
    """The rule in force for an entity."""
    profiles = {key: one.document for key, one in COUNTRY_PROFILES.load(connection).items()}
    entities = BILLING_ENTITIES.load(connection)
    entity = entities.get(entity_id) if entity_id is not None else None
    return retention_rule(None if entity is None else entity.document, profiles)


def retained_years(ledger: Engine) -> list[RetainedYear]:
    """What is on record, by entity and year."""
    register = ISSUED_DOCUMENTS.c
    year = func.substr(register.issue_date, 1, 4)
    counted = select(register.entity_id, year, func.count()).group_by(register.entity_id, year)
    with ledger.connect() as connection:
        rows = sorted(connection.execute(counted).all(), key=lambda row: (row[0] or "", row[1]))
        rules = {
            entity_id: load_retention_rule(connection, entity_id) for entity_id in {row[0] for row in rows}
        }
        made = {
            row[0]: row[1]
            for row in connection.execute(
                select(AUDIT_ENTRIES.c.object_id, func.max(AUDIT_ENTRIES.c.occurred_at))
                .where(AUDIT_ENTRIES.c.object_kind == YEAR_ARCHIVE)
                .group_by(AUDIT_ENTRIES.c.object_id)
            )
        }
    return [
        RetainedYear(
            entity_id, int(year), int(count), rules[entity_id], _last_made(made, int(year), entity_id)
        )
        for entity_id, year, count in rows
    ]


def _last_made(made: Mapping[str, str], year: int, entity_id: str | None) -> str | None:
    """When an archive with these documents was last made: of the entity, or of all."""
    keys = (archive_key(year, None), archive_key(year, entity_id))
    return max((made[key] for key in keys if key in made), default=None)


def archive_key(year: int, entity_id: str | None) -> str:
    """The object of the audit trail: ``2026`` or ``2026/northwind``."""
    return str(year) if entity_id is None else f"{year}/{entity_id}"
