"""What billing can be told. Nothing here reads the environment: ``api/settings.py`` does."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.document import Document
from invoicing.tax_decision import TaxProvider


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
    """series: the part of invoice numbers before the year. issue: False leaves drafts, to be looked
    at and issued one by one. seller: None prints none.

    pricing_contracts: contracts priced at once (one pass over the events each); chunk_contracts:
    contracts whose invoices are written in one ledger transaction. tax_provider: who answers tax questions;
    None: the tax rates on record do.
    """

    series: str = "INV"
    issue: bool = True
    seller: Seller | None = None
    pricing_contracts: int = 100_000
    chunk_contracts: int = 10_000
    tax_provider: TaxProvider | None = None
