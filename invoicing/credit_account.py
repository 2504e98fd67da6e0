"""A customer's credit as invoices are settled one after the other. Pure: what it did is entered by others.

An invoice is settled in three steps: what it sells becomes a grant, what it may draw it draws, and what has
expired by its billing date and no other bill can reach lapses, so that what rolls over is there for the
next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_allowance import (
    allowance_entries,
    draw_allowances,
    is_allowance,
    with_allowances,
    without_credit,
)
from invoicing.credit_draw import draw_credit, drawn_entries
from invoicing.credit_expiry import lapse_of
from invoicing.invoice import Invoice, InvoiceCredit


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose bills could draw on a customer's credit. contracts: all of the customer's. drafts: billing dates
    of invoices that wait as drafts, by contract."""

    contracts: frozenset[str] = frozenset()
    drafts: Mapping[str, frozenset[date]] = field(default_factory=dict)


@dataclass(slots=True)
class CreditAccount:
    """One customer's open grants and what is left of each. opened, entries: what settling added, to be
    entered; lapsed: ids of the grants that came to their end."""

    grants: list[StoredGrant]
    remaining: dict[str, int] = field(default_factory=dict)
    opened: list[StoredGrant] = field(default_factory=list)
    entries: list[CreditEntry] = field(default_factory=list)
    lapsed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for stored in self.grants:
            self.remaining[stored.grant.grant_id] = stored.remaining_minor

    def settle(
        self, invoice: Invoice, *, sold: Sequence[StoredGrant], reach: Reach, entry_date: date
    ) -> Invoice:
        """The invoice with what it draws. sold: the grants its retainer lines buy."""
        for stored in sold:
            self._open(stored)
        invoice = self.draw(invoice, entry_date=entry_date)
        for stored in self._out_of_reach(invoice, reach):
            lapse = lapse_of(stored)
            self.remaining[stored.grant.grant_id] = 0
            self.entries += lapse.entries
            self.lapsed.append(stored.grant.grant_id)
            if lapse.rolled_over is not None:
                self._open(lapse.rolled_over)
        return invoice

    def draw(self, invoice: Invoice, *, entry_date: date) -> Invoice:
        """The invoice with what it draws, before tax and after, and nothing else."""
        invoice = without_credit(invoice)
        allowed = draw_allowances(invoice, self.grants, remaining=self.remaining)
        for draw in allowed:
            self.remaining[draw.grant.grant.grant_id] -= draw.amount_minor
        self.entries += allowance_entries(allowed, invoice_id=invoice.invoice_id, entry_date=entry_date)
        paying = [stored for stored in self.grants if not is_allowance(invoice, stored)]
        invoice = with_allowances(invoice, allowed)
        draws = draw_credit(invoice, paying, remaining=self.remaining)
        self.entries += drawn_entries(
            draws, remaining=self.remaining, invoice_id=invoice.invoice_id, entry_date=entry_date
        )
        credit = []
        for draw in draws:
            grant = draw.grant.grant
            self.remaining[grant.grant_id] -= draw.amount_minor
            left = self.remaining[grant.grant_id]
            credit.append(InvoiceCredit(grant.grant_id, grant.name, grant.kind, draw.amount_minor, left))
        return replace(invoice, drawn_credit=tuple(credit))

    def _open(self, stored: StoredGrant) -> None:
        self.grants.append(stored)
        self.remaining[stored.grant.grant_id] = stored.remaining_minor
        self.opened.append(stored)
        self.entries.append(stored.opening_entry())

    def _out_of_reach(self, invoice: Invoice, reach: Reach) -> list[StoredGrant]:
        """Grants that expired by the billing date and that only this contract could draw on. It is billed in
        order, so all that comes is for later days, but for drafts of earlier ones."""
        contract_id = str(invoice.contract["contract_id"])
        waiting = reach.drafts.get(contract_id, frozenset()) - {invoice.billing_date}
        found = []
        for stored in self.grants:
            grant, left = stored.grant, self.remaining[stored.grant.grant_id]
            if not left or grant.expires_on is None or grant.expires_on > invoice.billing_date:
                continue
            scope = frozenset(grant.contract_ids)
            contracts = reach.contracts & scope if scope else reach.contracts
            if contracts <= {contract_id} and not any(day <= grant.expires_on for day in waiting):
                found.append(replace(stored, remaining_minor=left))
        return found
