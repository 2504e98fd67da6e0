"""Billing dates held because of tax: who sends or what is due is not known, or what law asks for is empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.errors import Conflict, Issue
from invoicing.billing_catalogue import BillingCatalogue, load_terms
from invoicing.country_profile import RequiredField, missing_fields
from invoicing.hold import Held, Key
from invoicing.invoice import Invoice, entity_id_of
from invoicing.line_text import last_service_days
from invoicing.tables import contract_of
from invoicing.tax_columns import LineQuestions, ask_of_lines, unanswered
from invoicing.tax_decision import TaxDecision
from invoicing.tax_desk import ContractTax, TaxDesk, contract_taxes


@dataclass(frozen=True, slots=True)
class TaxReady:
    """taxes: by contract_id, of those whose sender is clear. held: the dates that are not."""

    taxes: Mapping[str, ContractTax] = field(default_factory=dict)
    held: tuple[Held, ...] = ()


def prepare_tax(
    desk: TaxDesk | None,
    dates: Sequence[Key],
    lines: pa.Table,
    rows: Sequence[Mapping[str, Any]],
    customers: Mapping[str, tuple[int, str]],
    catalogue: BillingCatalogue,
    ledger: Engine,
    tax_classes: Mapping[str, str],
) -> TaxReady:
    """Who sends what to whom, and the dates held by it. Without a desk: nothing.

    lines: RATED_LINE_SCHEMA. rows: contracts of ``load_contracts``, under the keys that the lines have.
    tax_classes: of lines whose items name one, by line id in hex.
    """
    if desk is None:
        return TaxReady()
    taxes, unclear = contract_taxes(desk, rows, customers)
    held = [_held(key, unclear[key[0]]) for key in dates if key[0] in unclear]
    known = lines.filter(pc.is_in(lines["contract_id"], value_set=pa.array(sorted(taxes), pa.string())))
    if not known.num_rows:
        return TaxReady(taxes, tuple(held))
    asked = ask_of_lines(
        known,
        last_days=last_service_days(known, {row["contract_id"]: str(row["time_zone"]) for row in rows}),
        desk=desk,
        taxes=taxes,
        plan_versions=catalogue.agreed_versions,
        tax_classes=tax_classes,
    )
    held += [_held(key, issue) for key, issue in unanswered(known, asked)]
    held += _without_fields(known, asked, taxes, ledger, rows)
    return TaxReady(taxes, tuple(held))


def refuse_missing_fields(desk: TaxDesk | None, invoice: Invoice) -> None:
    """Before a draft is issued: raises Conflict when a field that its seller's country asks for is empty in
    it, or was made to be asked for since it was drafted."""
    entity_id = entity_id_of(invoice)
    if desk is None or entity_id is None:
        return
    parts = {"seller": invoice.seller or {}, "customer": invoice.customer, "terms": invoice.terms}
    categories = [group.category for group in invoice.tax]
    missing = missing_fields(desk.required.get(entity_id, ()), parts, categories)
    if missing:
        raise Conflict(
            f"invoice {invoice.invoice_id} cannot be issued. {_missing_words(missing)} A draft is a "
            "snapshot: what was not there when it was drafted is not on it.",
            reason_code="statutory_field_missing",
        )


def _without_fields(
    lines: pa.Table,
    asked: LineQuestions,
    taxes: Mapping[str, ContractTax],
    ledger: Engine,
    rows: Sequence[Mapping[str, Any]],
) -> list[Held]:
    """Dates whose invoice would lack what the seller's country asks for. Nearly all have it from seller and
    customer, whatever their treatment."""
    categories = [answer.category if isinstance(answer, TaxDecision) else "" for answer in asked.answers]
    wanting = _still_asked(taxes, set(categories))
    if not wanting:
        return []
    frame = pl.DataFrame(lines.select(["contract_id", "billing_date"])).with_columns(
        category=pl.Series(categories, dtype=pl.String).gather(pl.Series(asked.question))
    )
    chosen = frame.filter(pl.col("contract_id").cast(pl.String).is_in(list(wanting)))
    grouped = chosen.group_by("contract_id", "billing_date", maintain_order=True).agg(
        pl.col("category").unique().sort()
    )
    terms = _wanted_terms(wanting, ledger, rows)
    held = []
    for contract_id, day, own_categories in grouped.iter_rows():
        parts = {"terms": orjson.loads(terms.get(contract_id, "{}"))}
        missing = missing_fields(wanting[contract_id], parts, own_categories)
        if missing:
            held.append(Held(contract_id, day, "statutory_field_missing", _missing_words(missing)))
    return held


def _still_asked(
    taxes: Mapping[str, ContractTax], categories: Set[str]
) -> dict[str, tuple[RequiredField, ...]]:
    """What seller and customer do not have and lines of some of these categories ask for, by contract_id. Few
    lists of fields differ, and all hold the same objects."""
    asked: dict[tuple[int, ...], bool] = {}
    wanting = {}
    for contract_id, tax in taxes.items():
        fields = tax.open_fields
        if not fields:
            continue
        same = tuple(map(id, fields))
        if same not in asked:
            asked[same] = bool(missing_fields(fields, {}, categories))
        if asked[same]:
            wanting[contract_id] = fields
    return wanting


def _wanted_terms(
    wanting: Mapping[str, Sequence[RequiredField]], ledger: Engine, rows: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    """The terms, by contract_id, of contracts that are still asked for some."""
    versions = {
        row["contract_id"]: row["version"]
        for row in rows
        if any("terms." in entry.field for entry in wanting.get(row["contract_id"], ()))
    }
    if not versions:
        return {}
    with ledger.connect() as connection:
        terms = load_terms(connection, {contract_of(key): version for key, version in versions.items()})
    return {key: terms[contract_of(key)] for key in versions if contract_of(key) in terms}


def _missing_words(missing: Iterable[RequiredField]) -> str:
    named = "; ".join(f"{entry.field.replace('|', ' or ')} ({entry.words})" for entry in missing)
    return f"The law asks for what is empty: {named}. Enter it in the billing entity, customer or contract."


def _held(key: Key, issue: Issue) -> Held:
    return Held(key[0], key[1], issue.reason_code, f"{issue.message} Expected: {issue.expected}")
