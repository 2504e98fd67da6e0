"""Price variants: what is tried out, read from documents and checked like plans that are saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from ingest.document import Document
from ingest.errors import InvalidInput, Issue
from ingest.meter import Key
from ingest.meter_store import list_meters
from rating.catalogue import check_price_plan
from rating.price_plan import PricePlan


class VariantDocument(Document):
    """A variant as it is sent: a name, and whole price plan documents, each to stand in for the plan of its
    plan_id."""

    name: Key
    plans: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class PriceVariant:
    """plans: at least one, of different plan ids."""

    name: str
    plans: tuple[PricePlan, ...]


def read_variants(ledger: Engine, documents: Sequence[VariantDocument]) -> list[PriceVariant]:
    """Check every plan by the rules of a plan that is saved; ``effective_from`` may lie in billed time.

    Raises InvalidInput for no variant, a variant without a plan or with two of one plan_id, two variants of
    one name; InvalidDocument for the first plan that breaks a rule. Nothing is saved.
    """
    _refuse(_issues(documents))
    meters = {meter.meter_id: meter for meter in list_meters(ledger)}
    with ledger.connect() as connection:
        return [
            PriceVariant(
                document.name,
                tuple(check_price_plan(connection, plan, meters=meters) for plan in document.plans),
            )
            for document in documents
        ]


def _refuse(issues: Sequence[Issue]) -> None:
    if issues:
        words = " ".join(str(issue) for issue in issues)
        raise InvalidInput(f"the variants cannot be priced. {words}", issues=issues)


def _issues(documents: Sequence[VariantDocument]) -> list[Issue]:
    if not documents:
        return [Issue("no_variant", "variants", "There is no variant.", "at least one price variant.")]
    issues = []
    seen: set[str] = set()
    for place, document in enumerate(documents):
        at = f"variants[{place}]"
        if document.name in seen:
            issues.append(
                Issue(
                    "variant_named_twice",
                    f"{at}.name",
                    f"{document.name!r} is the name of a variant before it.",
                    "another name.",
                )
            )
        seen.add(document.name)
        issues += _plan_issues(document.plans, at)
    return issues


def _plan_issues(plans: Sequence[Mapping[str, Any]], at: str) -> list[Issue]:
    ids = [str(plan.get("plan_id")) for plan in plans]
    if not ids:
        return [Issue("no_plan", f"{at}.plans", "The variant has no plan.", "at least one price plan.")]
    twice = sorted({plan_id for plan_id in ids if ids.count(plan_id) > 1})
    return [
        Issue(
            "plan_given_twice",
            f"{at}.plans",
            f"Plan {plan_id!r} is given {ids.count(plan_id)} times.",
            "one document a plan; another price of it is another variant.",
        )
        for plan_id in twice
    ]
