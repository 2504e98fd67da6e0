"""A contract as people write it: who, from when to when, on which plan, billed how.

Dates are local to ``time_zone``; a period starts at local midnight and ``end_date`` is the first
day no longer covered (half-open, like everything here). ``subjects`` are the keys under which the
customer's usage arrives. ``overrides`` are the customer's own prices and ``discounts`` what was
promised beside those of the plan; ``commitments`` are the least and the most a period comes to.
The first ``trial_days`` days cost nothing but one-time charges. See ``rating/agreement.py``.
``entitlements`` say how much may be used, see ``rating/entitlement.py``; they price nothing.
"""

from __future__ import annotations

from datetime import date

from pydantic import Field

from ingest.document import Document
from ingest.meter import Key
from rating.agreement import Commitment, DatedOverride
from rating.discount import Discount
from rating.entitlement import Entitlement
from rollup.period import Cadence


class Billing(Document):
    """``anchor_date``: a day on which a billing period starts; its day of month (or weekday) sets
    all others. The 31st falls on the last day of shorter months. Left out: the contract's start."""

    cadence: Cadence = "monthly"
    anchor_date: date | None = None


class Terms(Document):
    """Words and dates the invoice carries."""

    payment_days: int = Field(default=30, ge=0, le=365)
    payment_methods: tuple[str, ...] = ("bank transfer",)
    late_payment: str = ""
    purchase_order: str = ""


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
    trial_days: int = Field(default=0, ge=0, le=3660)
    entitlements: tuple[Entitlement, ...] = ()
