"""A customer's credit as invoices are settled one after the other. Pure: what it did is entered by others.

An invoice is settled in four steps: what it sells becomes a grant; what it gives back of lines that credit
was taken off before tax goes back to that credit (``allowance_release.py``); what it may draw it draws (a
bill below zero gives back what earlier ones drew, ``credit_give_back.py``); and what has expired by its
billing date and no other bill can reach lapses, so that what rolls over is there for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from invoicing.allowance_release import put_back_entries, released_by, with_released
from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_allowance import (
    allowance_entries,
    draw_allowances,
    is_allowance,
    with_allowances,
    without_credit,
)
from invoicing.credit_back import ComingBack, coming_back, cost_back, expired, moving_on
from invoicing.credit_draw import draw_credit, drawn_entries
from invoicing.credit_expiry import lapse_of
from invoicing.credit_give_back import GivenBack, Past, credit_to_give_back
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
        self,
        invoice: Invoice,
        *,
        sold: Sequence[StoredGrant],
        past: Past | None,
        reach: Reach,
        entry_date: date,
    ) -> Invoice:
        """The invoice with what it draws or gives back. sold: the grants its retainer lines buy. past: what
        it may give back of; None: nothing."""
        for stored in sold:
            self._open(stored)
        invoice = self.draw(invoice, past=past, entry_date=entry_date)
        for stored in self._out_of_reach(invoice, reach):
            lapse = lapse_of(stored)
            self.remaining[stored.grant.grant_id] = 0
            self.entries += lapse.entries
            self.lapsed.append(stored.grant.grant_id)
            if lapse.rolled_over is not None:
                self._open(lapse.rolled_over)
        return invoice

    def draw(self, invoice: Invoice, *, past: Past | None, entry_date: date) -> Invoice:
        """The invoice with what it draws, before tax and after, or gives back, and nothing else."""
        invoice, put_back = self._put_back(without_credit(invoice), past, entry_date)
        allowed = draw_allowances(invoice, self.grants, remaining=self.remaining)
        for draw in allowed:
            self.remaining[draw.grant.grant.grant_id] -= draw.amount_minor
        self.entries += allowance_entries(allowed, invoice_id=invoice.invoice_id, entry_date=entry_date)
        paying = [stored for stored in self.grants if not is_allowance(invoice, stored)]
        invoice = with_allowances(invoice, allowed)
        if invoice.gross_minor < 0 and past is not None:
            credit_back = self._give_back(invoice, past, entry_date)
            self._move_on(put_back, past)
            return replace(invoice, drawn_credit=credit_back)
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
        self._move_on(put_back, past)
        return replace(invoice, drawn_credit=tuple(credit))

    def _put_back(
        self, invoice: Invoice, past: Past | None, entry_date: date
    ) -> tuple[Invoice, Sequence[CreditEntry]]:
        """An invoice without credit, raised by what goes back to credit that was taken off earlier lines
        before tax, and those entries. The invoice may take it again, also of a grant that has ended: for a
        line of a day on which that paid."""
        if past is None:
            return invoice, []
        released = released_by(invoice, past, entries=[*past.entries, *self.entries])
        entries = put_back_entries(released, invoice_id=invoice.invoice_id, entry_date=entry_date)
        self._know(past.grants)
        for grant_id, entry in entries.items():
            self.remaining[grant_id] += entry.amount_minor
        self.entries += entries.values()
        names = {stored.grant.grant_id: stored.grant.name for stored in self.grants}
        return with_released(invoice, released, names), list(entries.values())

    def _move_on(self, put_back: Sequence[CreditEntry], past: Past | None) -> None:
        """What was put back to grants that have ended, and was not taken again, goes on to new ones, which
        pay for what those paid for and never expire."""
        for entry in put_back:
            stored, rest = self._grant(entry.grant_id), self._not_taken_again(entry.grant_id, entry)
            ended = (past is not None and entry.grant_id in past.ended) or entry.grant_id in self.lapsed
            if rest > 0 and (ended or expired(stored, on=entry.entry_date)):
                left = replace(entry, amount_minor=rest)
                self._go_on(moving_on(left, stored, begins=stored.grant.effective_from))
                self.remaining[entry.grant_id] -= rest

    def _not_taken_again(self, grant_id: str, of: CreditEntry) -> int:
        """What of credit that the document of an entry put back to a grant is there still, after what it
        took and what moved on."""
        kinds = {"put_back", "taken_off", "drawn", "rolled_over", "returned"}
        moved = (
            entry.amount_minor
            for entry in self.entries
            if entry.grant_id == grant_id and entry.invoice_id == of.invoice_id and entry.kind in kinds
        )
        return max(0, sum(moved))

    def _go_on(self, came: ComingBack) -> None:
        self.entries += came.entries
        for successor in came.opened:
            self.grants.append(successor)
            self.opened.append(successor)
            self.remaining[successor.grant.grant_id] = successor.amount_minor

    def _know(self, grants: Sequence[StoredGrant]) -> None:
        """Grants that earlier bills drew; nothing may be left of them."""
        for stored in grants:
            if stored.grant.grant_id not in self.remaining:
                self.grants.append(stored)
                self.remaining[stored.grant.grant_id] = stored.remaining_minor

    def _grant(self, grant_id: str) -> StoredGrant:
        return next(each for each in self.grants if each.grant.grant_id == grant_id)

    def _give_back(self, invoice: Invoice, past: Past, entry_date: date) -> tuple[InvoiceCredit, ...]:
        """What goes back to the grants earlier bills drew, as credit below zero."""
        self._know(past.grants)
        known = [*past.entries, *self.entries]
        backs = credit_to_give_back(invoice, past, entries=known)
        return tuple(self._take_back(back, invoice.invoice_id, past, entry_date) for back in backs)

    def _take_back(self, back: GivenBack, invoice_id: str, past: Past, entry_date: date) -> InvoiceCredit:
        grant_id = back.grant_id
        stored = self._grant(grant_id)
        amount, remaining = back.amount_minor, self.remaining[grant_id]
        cost = cost_back(stored, amount, remaining_minor=remaining)
        entry = CreditEntry(
            grant_id, "returned", entry_date, amount, cost, invoice_id=invoice_id, lines=back.lines
        )
        beside = self._not_taken_again(grant_id, entry)
        ended = grant_id in past.ended or grant_id in self.lapsed
        came = coming_back(entry, stored, ended=ended, beside_minor=beside)
        self._go_on(came)
        if came.opened:
            self.remaining[grant_id] -= beside
        else:
            self.remaining[grant_id] += amount
        left = amount if came.opened else self.remaining[grant_id]
        return InvoiceCredit(grant_id, stored.grant.name, stored.grant.kind, -amount, left)

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
