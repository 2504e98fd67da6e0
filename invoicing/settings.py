"""What billing can be told. Nothing here reads the environment: ``api/settings.py`` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ingest.document import Document
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.tax_decision import TaxProvider

CREDIT_NOTE_SERIES: Final = "CN"
NegativeTotal = Literal["credit_note", "hold"]
"""What becomes of a billing date that comes to less than nothing."""


class Seller(Document):
    """Who sends the invoice; printed on it, copied into it. bank_account: as the payer needs it."""

    name: str
    address_lines: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""
    email: str = ""
    bank_account: str = ""


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """series, credit_note_series: the part of numbers before the year, of billing entities that have none of
    their own. negative_total: what becomes of a billing date that comes to less than nothing. issue: False
    leaves drafts, to be looked at and issued one by one. seller: None prints none. actor: who bills, as the
    audit trail names them.

    pricing_contracts: contracts priced at once (one pass over the events each); stored_contracts: the same
    where nothing but usage that was added up before is read (44 ms of processor time each); chunk_contracts:
    contracts whose invoices are written in one ledger transaction. tax_provider: who answers tax questions;
    None: the tax rates on record do. accrue: whether ``tick`` recognises what is unbilled at month ends.
    """

    series: str = "INV"
    credit_note_series: str = CREDIT_NOTE_SERIES
    negative_total: NegativeTotal = "credit_note"
    issue: bool = True
    seller: Seller | None = None
    actor: str = SYSTEM_ACTOR
    pricing_contracts: int = 100_000
    stored_contracts: int = 10_000
    chunk_contracts: int = 10_000
    tax_provider: TaxProvider | None = None
    accrue: bool = False
