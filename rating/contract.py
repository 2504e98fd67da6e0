"""A contract as people write it: who, from when to when, on which plan, billed how.

Dates are local to ``time_zone``; a period starts at local midnight and ``end_date`` is the first
day no longer covered (half-open, like everything here). ``subjects`` are the keys under which the
customer's usage arrives. ``overrides`` are the customer's own prices and ``discounts`` what was
promised beside those of the plan; ``commitments`` are the least and the most a period comes to,
``term_commitments`` what a whole term comes to at least. ``retainers`` are paid in advance and drawn down.
The first ``trial_days`` days cost nothing but one-time charges. See ``rating/agreement.py``.
``phases``, ``additions`` and ``quantities`` change it on its way, see ``rating/contract_life.py``; ``unused``
says whether days paid in advance and not had are given back.
``late_usage`` says what becomes of usage that comes or is corrected after its invoice: an adjustment on the
next one, or nothing.
``entitlements`` say how much may be used, see ``rating/entitlement.py``; they price nothing.
``billing_entity`` is who sends the invoices; left out: the customer's, or the one there is.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from ingest.document import Document
from ingest.meter import Key
from rating.agreement import Commitment, DatedOverride
from rating.contract_life import Addition, DatedQuantity, Phase, Unused
from rating.discount import Discount
from rating.entitlement import Entitlement
from rating.invoice_day import BusinessDayRule
from rating.retainer import DatedRetainer
from rating.term_commitment import TermCommitment
from rollup.period import Cadence, interval_words


class Billing(Document):
    """``anchor_date``: a day on which a billing period starts; its day of month (or weekday) sets
    all others. The 31st falls on the last day of shorter months. Left out: the contract's start.
    ``every``: how many weeks or months make a period. ``business_day``: on which day a billing date is
    invoiced (``rating/invoice_day.py``), by the holidays of ``calendar_id``; without one only weekends are
    free."""

    cadence: Cadence = "monthly"
    every: int = Field(default=1, ge=1, le=104)
    anchor_date: date | None = None
    business_day: BusinessDayRule = "none"
    calendar_id: Key | None = None

    @property
    def interval(self) -> str:
        """The cadence as ``billing_boundaries`` takes it."""
        return interval_words(self.cadence, self.every)


class Terms(Document):
    """Words and dates the invoice carries. ``owner``: whose sale the contract is, a person or a team: who is
    asked about its invoices. Contracts of one customer may have different ones."""

    payment_days: int = Field(default=30, ge=0, le=365)
    payment_methods: tuple[str, ...] = ("bank transfer",)
    late_payment: str = ""
    purchase_order: str = ""
    owner: str = Field(default="", max_length=256)


class Contract(Document):
    """See the module."""

    contract_id: Key
    customer_id: Key
    plan_id: Key
    subjects: tuple[str, ...] = ()
    start_date: date
    end_date: date | None = None
    time_zone: str = Field(min_length=1)
    billing: Billing = Billing()
    terms: Terms = Terms()
    signed_by: str = ""
    signed_on: date | None = None
    note: str = ""
    overrides: tuple[DatedOverride, ...] = ()
    discounts: tuple[Discount, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    term_commitments: tuple[TermCommitment, ...] = ()
    retainers: tuple[DatedRetainer, ...] = ()
    trial_days: int = Field(default=0, ge=0, le=3660)
    phases: tuple[Phase, ...] = ()
    additions: tuple[Addition, ...] = ()
    quantities: tuple[DatedQuantity, ...] = ()
    unused: Unused = "credit"
    late_usage: Literal["adjust", "ignore"] = "adjust"
    entitlements: tuple[Entitlement, ...] = ()
    billing_entity: Key | None = None
