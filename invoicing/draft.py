"""Rated lines become draft invoices: one a contract and billing date, as canonical JSON text.

This is the compiled twin of ``invoice_text``: whole columns of text at a time, no Python a line.
The tests hold it to the plain one, byte for byte. What is the same for many lines (names, prices,
tier bounds) is written once per charge and gathered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.errors import BrokenState
from invoicing.adjusted_line import AdjustedLine
from invoicing.invoice import DOCUMENT_SCHEMA
from invoicing.invoice_id import invoice_id_of
from invoicing.invoice_tax import InvoiceTax, tax_document
from invoicing.line_text import LineTexts, last_service_days, write_line_texts
from invoicing.numbering import bill_kind
from invoicing.posting import DocumentLine
from invoicing.register import DocumentKind
from invoicing.tax_columns import TaxedLines, ask_of_lines, tax_lines
from invoicing.tax_desk import ContractTax, TaxDesk
from rating.agreement import Agreement
from rating.money import minor_digits
from rating.plan_version import PlanVersion

_INT64_MAX: Final = (1 << 63) - 1
_BEFORE_TAX: Final = '"credits":"before_tax",'
_TAX_MEMBER: Final = '"tax_minor":'
_GroupKey = tuple[str, Decimal, str, str]


@dataclass(frozen=True, slots=True)
class DraftContext:
    """What drafts copy in, by key. Texts are canonical JSON.

    contracts: rows of ``load_contracts`` by contract_id. customers: version and text by customer_id.
    terms: text of the contract's terms by contract_id. seller: text, or ``null``; of contracts in ``taxes``
    their billing entity's instead. plan_versions: with those that come of ``agreements``, which are by key.
    adjusted: what adjustments adjust, by line id in hex. descriptions: of lines of items, by line id in hex;
    tax_classes: of those whose items name one. An invoice beside those of the billing dates has a key of its
    own in ``contracts``, ``terms`` and ``taxes``, and its lines have that as their contract_id.
    tax: who answers tax questions; None: no tax is stated. taxes: by contract_id, then of all contracts.
    """

    contracts: Mapping[str, Mapping[str, Any]]
    customers: Mapping[str, tuple[int, str]]
    terms: Mapping[str, str]
    seller: str
    plan_versions: Sequence[PlanVersion]
    agreements: Mapping[str, Agreement]
    adjusted: Mapping[str, AdjustedLine] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    tax_classes: Mapping[str, str] = field(default_factory=dict)
    tax: TaxDesk | None = None
    taxes: Mapping[str, ContractTax] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice but for its number and dates. ``head``, ``middle`` and ``tail`` are its text around
    those; ``line_ids``, ``charge_ids`` and ``amounts_minor`` are its lines in order, ``posted_lines`` as the
    journal needs them. credit: the text of what
    it draws, empty for nothing. owner: the contract's id, or the key of an invoice beside its billing
    dates. total_minor: net. priced_minor: of the lines as rated, where that includes tax. allowed_minor: by
    line_id, the credit that was taken off before tax. entity_id: the billing entity that sends it."""

    invoice_id: str
    owner: str
    contract_id: str
    customer_id: str
    billing_date: date
    currency: str
    total_minor: int
    payment_days: int
    head: str
    middle: str
    tail: str
    line_ids: tuple[str, ...]
    charge_ids: tuple[str, ...]
    amounts_minor: tuple[int, ...]
    posted_lines: tuple[DocumentLine, ...]
    credit: str = ""
    credit_minor: int = 0
    tax_minor: int = 0
    priced_minor: tuple[int | None, ...] | None = None
    allowed_minor: Mapping[str, int] = field(default_factory=dict)
    entity_id: str | None = None

    def text(self, *, number: str | None, issue_date: date | None) -> str:
        """The canonical text, as a draft (both None) or issued."""
        due_date = None if issue_date is None else self.due_date(issue_date)
        drawn = f'"drawn_credit":{self.credit},' if self.credit else ""
        return (
            f'{self.head}{drawn}"due_date":{_day_json(due_date)},"invoice_id":"{self.invoice_id}",'
            f'"issue_date":{_day_json(issue_date)}{self.middle}"number":{_json(number)}{self.tail}'
        )

    @property
    def kind(self) -> DocumentKind:
        """What it is issued as."""
        return bill_kind(self.total_minor + self.tax_minor)

    def due_date(self, issue_date: date) -> date | None:
        """None of a credit note: nothing is to be paid."""
        return _days_after(issue_date, self.payment_days) if self.kind == "invoice" else None


def draft_invoices(*, lines: pa.Table, context: DraftContext) -> list[Draft]:
    """Draft one invoice for each (contract, billing date) of ``lines``, in their order.

    lines: RATED_LINE_SCHEMA, the lines of one contract and billing date next to each other, in one
    currency, of contracts, customers, terms and plans the context has. Raises BrokenState when the
    drafts do not add up to the lines.
    """
    if not lines.num_rows:
        return []
    lines = lines.combine_chunks()
    starts = invoice_starts(lines)
    zones = {key: str(row["time_zone"]) for key, row in context.contracts.items()}
    taxed = None if context.tax is None else _taxed(lines, starts, zones, context, context.tax)
    if taxed is not None:
        lines = with_net_amounts(lines, taxed)
    texts = write_line_texts(
        lines=lines,
        zones=zones,
        plan_versions=context.plan_versions,
        agreements=context.agreements,
        adjusts={line_id: one.text() for line_id, one in context.adjusted.items()},
        descriptions=context.descriptions,
        taxes=None if taxed is None else taxed.pieces,
    )
    drafts = _write_drafts(lines, starts, texts, context, taxed)
    _check_priced(drafts)
    drafted, rated = (
        sum(draft.total_minor for draft in drafts),
        sum(lines["amount_minor"].to_numpy().tolist()),
    )
    if drafted != rated or sum(len(draft.line_ids) for draft in drafts) != lines.num_rows:
        raise BrokenState(
            f"{len(drafts)} drafts come to {drafted} minor units, their {lines.num_rows} rated lines to "
            f"{rated}. Nothing was written; run billing again and report this if it stays."
        )
    return drafts


def _taxed(
    lines: pa.Table,
    starts: NDArray[np.int64],
    zones: Mapping[str, str],
    context: DraftContext,
    desk: TaxDesk,
) -> TaxedLines:
    asked = ask_of_lines(
        lines,
        last_days=last_service_days(lines, zones),
        desk=desk,
        taxes=context.taxes,
        plan_versions=context.plan_versions,
        tax_classes=context.tax_classes,
    )
    return tax_lines(lines, starts, asked)


def with_net_amounts(lines: pa.Table, taxed: TaxedLines) -> pa.Table:
    """The lines with what they come to net for their amount."""
    place = lines.schema.get_field_index("amount_minor")
    net = pa.array(taxed.net_minor.tolist(), lines.schema.field(place).type)
    return lines.set_column(place, lines.schema.field(place), net)


def _check_priced(drafts: Sequence[Draft]) -> None:
    """Where all prices include tax, net and tax must come to what was priced, no more and no less."""
    for draft in drafts:
        priced = [amount for amount in draft.priced_minor or () if amount is not None]
        if (
            priced
            and len(priced) == len(draft.line_ids)
            and draft.total_minor + draft.tax_minor != sum(priced)
        ):
            raise BrokenState(
                f"invoice {draft.invoice_id} is priced at {sum(priced)} minor units, tax included, "
                f"and net {draft.total_minor} and tax {draft.tax_minor} come to another sum. Nothing was "
                "written; run billing again and report this if it stays."
            )


def invoice_starts(lines: pa.Table) -> NDArray[np.int64]:
    """The first line of each contract and billing date. Raises BrokenState where they are not together."""
    keys = pl.DataFrame(
        {"contract": pl.from_arrow(lines["contract_id"]), "date": pl.from_arrow(lines["billing_date"])}
    )
    changed = keys.select(
        (pl.col("contract") != pl.col("contract").shift(1)) | (pl.col("date") != pl.col("date").shift(1))
    )
    starts: NDArray[np.int64] = np.flatnonzero(changed.to_series().fill_null(value=True).to_numpy())
    if keys[starts.tolist()].is_duplicated().any():
        raise BrokenState("rated lines of one contract and billing date do not lie next to each other.")
    return starts


def _write_drafts(
    lines: pa.Table,
    starts: NDArray[np.int64],
    texts: LineTexts,
    context: DraftContext,
    taxed: TaxedLines | None,
) -> list[Draft]:
    stops = np.append(starts[1:], lines.num_rows)
    offsets = pa.array(np.append(starts, lines.num_rows))
    joined = _joined(offsets, texts.texts)
    amounts = lines["amount_minor"].to_numpy()
    totals = _sums(amounts, starts)
    firsts = np.minimum.reduceat(texts.start_days, starts).astype("datetime64[D]").tolist()
    lasts = np.maximum.reduceat(texts.end_days, starts).astype("datetime64[D]").tolist()
    chosen = lines.select(["contract_id", "billing_date", "currency"]).take(pa.array(starts))
    line_ids, charge_ids = texts.line_ids.to_list(), _words(lines["charge_id"])
    amount_list = amounts.tolist()
    posted = _posted_lines(lines, texts, charge_ids, amount_list)
    terms_texts, tax_heads = _terms_texts(context), dict[_GroupKey, str]()
    before_tax = _takes_credit_before_tax(lines, starts, context.plan_versions)
    drafts = []
    for place, (owner, billing_date, currency) in enumerate(
        zip(*(pl.Series(column).to_list() for column in chosen.columns), strict=True)
    ):
        contract = context.contracts[owner]
        version, customer = context.customers[contract["customer_id"]]
        terms, payment_days = terms_texts[context.terms[owner]]
        first, last = int(starts[place]), int(stops[place])
        groups = () if taxed is None else taxed.groups[place]
        tax_text = _tax_text(groups, tax_heads)
        tax = context.taxes.get(owner)
        seller = context.seller if tax is None else tax.seller_text
        priced = None if taxed is None or taxed.priced_minor is None else taxed.priced_minor[first:last]
        drafts.append(
            Draft(
                invoice_id=invoice_id_of(contract_id=owner, billing_date=billing_date),
                owner=owner,
                contract_id=contract["contract_id"],
                customer_id=contract["customer_id"],
                billing_date=billing_date,
                currency=currency,
                total_minor=totals[place],
                payment_days=payment_days,
                head=f'{{"billing_date":"{billing_date}","contract":{_contract_text(contract)},'
                f'{_BEFORE_TAX if before_tax[place] else ""}"currency":"{currency}","customer":{customer},'
                f'"customer_version":{version},',
                middle=f',"lines":[{joined[place]}],"minor_digits":{minor_digits(currency)},',
                tail=f',"period_end":"{lasts[place]}","period_start":"{firsts[place]}"'
                f',"schema":"{DOCUMENT_SCHEMA}","seller":{seller},"tax":{tax_text},"terms":{terms},'
                f'"total_minor":{totals[place]}}}',
                line_ids=tuple(line_ids[first:last]),
                charge_ids=tuple(charge_ids[first:last]),
                amounts_minor=tuple(amount_list[first:last]),
                posted_lines=tuple(posted[first:last]),
                tax_minor=sum(group.tax_minor for group in groups),
                priced_minor=None if priced is None else tuple(priced),
                entity_id=None if tax is None else tax.entity.entity_id,
            )
        )
    return drafts


def _takes_credit_before_tax(
    lines: pa.Table, starts: NDArray[np.int64], plan_versions: Sequence[PlanVersion]
) -> list[bool]:
    """Of each invoice, whether the plans of all its lines take promotional credit before tax."""
    before = [
        (entry.plan.plan_id, entry.version) for entry in plan_versions if entry.plan.credits == "before_tax"
    ]
    if not before:
        return [False] * len(starts)
    names = {"plan_id": pl.String, "plan_version": pl.UInt32}
    known = pl.DataFrame(list(dict.fromkeys(before)), schema=names, orient="row")
    keys = pl.DataFrame({name: pl.Series(lines[name]).cast(kind) for name, kind in names.items()})
    own = keys.join(known.with_columns(found=True), on=list(names), how="left", maintain_order="left")
    says = own["found"].fill_null(value=False).to_numpy()
    return list(np.logical_and.reduceat(says, starts).tolist())


def _joined(offsets: pa.Array, texts: pl.Series) -> list[str]:
    """The texts of each invoice's lines, with commas between."""
    return pl.Series(pa.LargeListArray.from_arrays(offsets, texts.to_arrow())).list.join(",").to_list()


def _words(column: pa.ChunkedArray) -> list[str]:
    return pl.Series(column.cast(pa.string())).to_list()


def _posted_lines(
    lines: pa.Table, texts: LineTexts, charge_ids: Sequence[str], amounts: Sequence[int]
) -> list[DocumentLine]:
    """The lines as the journal needs them, with the local days and net amounts of their texts."""
    kinds = _words(lines["charge_kind"])
    starts, ends = (days.astype("datetime64[D]").tolist() for days in (texts.start_days, texts.end_days))
    columns = (texts.line_ids.to_list(), charge_ids, kinds, starts, ends, amounts)
    return list(map(DocumentLine._make, zip(*columns, strict=True)))


def _terms_texts(context: DraftContext) -> dict[str, tuple[str, int]]:
    return {text: (text, int(orjson.loads(text)["payment_days"])) for text in set(context.terms.values())}


def _tax_text(groups: tuple[InvoiceTax, ...], heads: dict[_GroupKey, str]) -> str:
    """The groups of an invoice. heads: what is written already of those with such a category, rate and
    reason, up to their amounts."""
    if not groups:
        return _sorted_json(tax_document(groups))
    texts = []
    for group in groups:
        key = (group.category, group.rate_percent, group.reason, group.reason_code)
        if key not in heads:
            whole = _sorted_json(tax_document([group]))
            heads[key] = whole[1 : whole.rindex(_TAX_MEMBER) + len(_TAX_MEMBER)]
        texts.append(f'{heads[key]}{group.tax_minor},"taxable_minor":{group.taxable_minor}}}')
    return f"[{','.join(texts)}]"


def _sorted_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _contract_text(contract: Mapping[str, Any]) -> str:
    """Its facts as canonical JSON: names in order. An id is plain by its pattern."""
    return (
        f'{{"cadence":{_text_json(contract["cadence"])},"contract_id":"{contract["contract_id"]}",'
        f'"end_date":{_day_json(contract["end_date"])},"start_date":{_day_json(contract["start_date"])},'
        f'"time_zone":{_text_json(contract["time_zone"])},"version":{contract["version"]}}}'
    )


def _sums(amounts: NDArray[np.int64], starts: NDArray[np.int64]) -> list[int]:
    """Sums between the starts; numpy adds modulo 2**64, so large amounts are added one by one."""
    if int(np.abs(amounts).max()) * amounts.size <= _INT64_MAX:
        totals: list[int] = np.add.reduceat(amounts, starts).tolist()
        return totals
    parts = np.split(amounts, starts[1:])
    return [sum(part.tolist()) for part in parts]


def _json(value: date | str | None) -> str:
    return "null" if value is None else f'"{value}"'


@lru_cache(maxsize=1_000)
def _day_json(day: date | None) -> str:
    return _json(day)


@lru_cache(maxsize=1_000)
def _text_json(text: str) -> str:
    return orjson.dumps(text).decode()


@lru_cache(maxsize=1_000)
def _days_after(day: date, days: int) -> date:
    return day + timedelta(days=days)
