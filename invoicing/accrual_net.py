"""What of lines whose prices include tax is revenue: the net of the bill to come, as its draft has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa
from sqlalchemy import Engine

from invoicing.accrual import NotAccrued
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.customer_store import load_customer_texts
from invoicing.draft import invoice_starts, with_net_amounts
from invoicing.hold import Key, hold_unknown_customers
from invoicing.line_text import last_service_days
from invoicing.tax_columns import ask_of_lines, tax_lines
from invoicing.tax_desk import TaxDesk, open_tax_desk
from invoicing.tax_hold import TaxReady, prepare_tax

_ISSUE_ONLY = "statutory_field_missing"
"""What law asks for on a page keeps a bill from being issued, and no revenue from being recognised."""


def net_of_included_tax(
    lines: pa.Table, catalogue: BillingCatalogue, ledger: Engine, *, tax_classes: Mapping[str, str]
) -> tuple[pa.Table, list[NotAccrued]]:
    """The lines with net amounts where prices include tax, and the billing dates whose tax is not known,
    without their lines. lines: RATED_LINE_SCHEMA, by contract and billing date. tax_classes: of items."""
    plans = [
        (one.plan.plan_id, one.version) for one in catalogue.plan_versions if one.plan.prices_include_tax
    ]
    keys = _keys(lines)
    schema = {"plan_id": pl.String, "plan_version": pl.UInt32}
    included = keys.join(pl.DataFrame(plans, schema=schema, orient="row"), on=list(schema), how="semi")
    dates = included.select("contract_id", "billing_date").unique().sort("contract_id", "billing_date")
    desk = open_tax_desk(ledger, provider=None) if len(dates) else None
    if desk is None:
        return lines, []  # where nobody charges tax, no price includes any
    chosen = _of_dates(lines, keys, dates)
    ready = _ready(chosen, list(dates.iter_rows()), catalogue, ledger, desk, tax_classes)
    held = [one for one in ready.held if one.reason_code != _ISSUE_ONLY]
    gone = [(one.contract_id, one.billing_date) for one in held]
    unknown = pl.DataFrame(gone, schema=dates.schema, orient="row")
    known = dates.join(unknown, on=dates.columns, how="anti")
    net = _net(_of_dates(lines, keys, known), catalogue, desk, ready, tax_classes)
    parts = [_of_dates(lines, keys, dates, without=True), net]
    left_out = [NotAccrued(one.contract_id, one.billing_date, one.reason_code, one.message) for one in held]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks(), left_out


def _keys(lines: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(lines.select(["contract_id", "billing_date", "plan_id", "plan_version"]))
    return frame.cast({"contract_id": pl.String, "plan_id": pl.String, "plan_version": pl.UInt32})


def _of_dates(lines: pa.Table, keys: pl.DataFrame, dates: pl.DataFrame, *, without: bool = False) -> pa.Table:
    rows = keys.with_row_index().join(
        dates, on=dates.columns, how="anti" if without else "semi", maintain_order="left"
    )
    return lines.take(rows["index"].to_arrow())


def _ready(
    lines: pa.Table,
    dates: Sequence[Key],
    catalogue: BillingCatalogue,
    ledger: Engine,
    desk: TaxDesk,
    tax_classes: Mapping[str, str],
) -> TaxReady:
    ids = {contract_id for contract_id, _ in dates}
    rows = [row for row in catalogue.contracts.to_pylist() if row["contract_id"] in ids]
    with ledger.connect() as connection:
        customers = load_customer_texts(connection, sorted({row["customer_id"] for row in rows}))
    ready = prepare_tax(desk, dates, lines, rows, customers, catalogue, ledger, tax_classes)
    customer_of = {row["contract_id"]: row["customer_id"] for row in rows}
    nobody = hold_unknown_customers(dates, customer_of=customer_of, known=customers)
    return TaxReady(ready.taxes, (*nobody, *ready.held))


def _net(
    lines: pa.Table,
    catalogue: BillingCatalogue,
    desk: TaxDesk,
    ready: TaxReady,
    tax_classes: Mapping[str, str],
) -> pa.Table:
    if not lines.num_rows:
        return lines
    lines = lines.combine_chunks()
    zones = dict(
        zip(*(catalogue.contracts[name].to_pylist() for name in ("contract_id", "time_zone")), strict=True)
    )
    asked = ask_of_lines(
        lines,
        last_days=last_service_days(lines, zones),
        desk=desk,
        taxes=ready.taxes,
        plan_versions=catalogue.agreed_versions,
        tax_classes=tax_classes,
    )
    return with_net_amounts(lines, tax_lines(lines, invoice_starts(lines), asked))
