"""Settles the credit of invoices: in the transaction that issues them, on paper for drafts and previews."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, select

from ingest.errors import Conflict
from invoicing.bulk import select_by_ids
from invoicing.credit import StoredGrant
from invoicing.credit_account import CreditAccount, Reach
from invoicing.credit_give_back import Past
from invoicing.credit_past import drew_credit, load_past
from invoicing.credit_sale import SaleTerms, load_sale_terms
from invoicing.credit_store import lock_grants, open_grants, write_entries, write_grants
from invoicing.draft import Draft
from invoicing.draft_credit import with_credit
from invoicing.invoice import Invoice, parse_invoice
from invoicing.register import DocumentKind
from invoicing.tables import INVOICES
from rating.retainer import sells_credit
from rating.tables import CONTRACTS


def settle_drafts(
    connection: Connection, drafts: Sequence[Draft], *, issue_date: date | None, now: datetime
) -> tuple[list[Draft], list[str]]:
    """The drafts with the credit they draw, one after the other, and the ids of grants that lapsed with them.
    Issued ones enter it in the caller's transaction; without an issue date each shows what it would draw if
    it were issued next."""
    ids = [draft.customer_id for draft in drafts]
    if issue_date is None:
        return _all_shown(connection, drafts, open_grants(connection, ids)), []
    held = lock_grants(connection, ids)
    settled, accounts = _settled(connection, drafts, held, issue_date=issue_date)
    return settled, _enter(connection, accounts, now=now)


def kinds_when_settled(
    connection: Connection, drafts: Sequence[Draft], *, issue_date: date
) -> list[DocumentKind]:
    """As what each draft is issued. A bill that gives back of earlier ones may be below zero as it is rated,
    and not with the credit before tax that goes back with it. Read only, before numbers are drawn."""
    giving = _giving_back(connection, drafts, after_tax=False)
    if giving:
        chosen = {draft.customer_id for draft in giving}
        some = [draft for draft in drafts if draft.customer_id in chosen]
        held = open_grants(connection, sorted(chosen))
        known = {
            draft.invoice_id: draft for draft in _settled(connection, some, held, issue_date=issue_date)[0]
        }
        drafts = [known.get(draft.invoice_id, draft) for draft in drafts]
    return [draft.kind for draft in drafts]


def refuse_other_kind(kinds: Sequence[DocumentKind], settled: Sequence[DocumentKind]) -> None:
    """Raises Conflict when documents are issued as something else than their numbers were drawn for."""
    if list(kinds) != list(settled):
        raise Conflict(
            "credit of a bill changed while it was being issued; nothing was written. Do it again.",
            reason_code="credit_changed",
        )


def _settled(
    connection: Connection,
    drafts: Sequence[Draft],
    held: Mapping[str, Sequence[StoredGrant]],
    *,
    issue_date: date,
) -> tuple[list[Draft], list[CreditAccount]]:
    """The drafts with the credit they draw, one after the other, and what that did. held: grants of which
    something is left, by customer."""
    selling = set(filter(sells_credit, set().union(*(draft.charge_ids for draft in drafts))))
    buyers = {draft.customer_id for draft in drafts if selling and not selling.isdisjoint(draft.charge_ids)}
    giving = _giving_back(connection, drafts)
    touched = buyers | held.keys() | {draft.customer_id for draft in giving}
    if not touched:
        return list(drafts), []
    looks_back = {draft.contract_id for draft in giving}
    accounts = {customer_id: CreditAccount(list(held.get(customer_id, []))) for customer_id in touched}
    reach = _reach(connection, sorted(touched))
    plain = {draft.invoice_id: _parsed(draft) for draft in drafts if draft.customer_id in touched}
    terms = load_sale_terms(connection, list(plain.values()))
    settled = []
    beside: dict[str, list[Invoice]] = defaultdict(list)
    for draft in drafts:
        account = accounts.get(draft.customer_id)
        if account is None:
            settled.append(draft)
            continue
        invoice = account.settle(
            plain[draft.invoice_id],
            sold=terms.sold_by(plain[draft.invoice_id], customer_id=draft.customer_id),
            past=_past(connection, plain[draft.invoice_id], beside[draft.contract_id])
            if draft.contract_id in looks_back or beside[draft.contract_id]
            else None,
            reach=reach.get(draft.customer_id, Reach()),
            entry_date=issue_date,
        )
        beside[draft.contract_id].append(invoice)
        settled.append(with_credit(draft, invoice))
    return settled, [accounts[key] for key in sorted(accounts)]


def settle_invoice(
    connection: Connection, invoice: Invoice, *, customer_id: str, issue_date: date, now: datetime
) -> Invoice:
    """One invoice with the credit it draws as it is issued, entered in the caller's transaction."""
    account = CreditAccount(lock_grants(connection, [customer_id]).get(customer_id, []))
    settled = account.settle(
        invoice,
        sold=load_sale_terms(connection, [invoice]).sold_by(invoice, customer_id=customer_id),
        past=_past(connection, invoice, []),
        reach=_reach(connection, [customer_id]).get(customer_id, Reach()),
        entry_date=issue_date,
    )
    _enter(connection, [account], now=now)
    return settled


def settle_on_paper(
    connection: Connection, invoices: Sequence[Invoice], *, customer_id: str
) -> list[Invoice]:
    """What invoices of one contract, one after the other, would draw if they were issued. Read only."""
    account = CreditAccount(open_grants(connection, [customer_id]).get(customer_id, []))
    reach = _reach(connection, [customer_id]).get(customer_id, Reach())
    terms: SaleTerms = load_sale_terms(connection, invoices)
    settled: list[Invoice] = []
    for invoice in invoices:
        billed = account.settle(
            invoice,
            sold=terms.sold_by(invoice, customer_id=customer_id),
            past=_past(connection, invoice, settled),
            reach=reach,
            entry_date=invoice.billing_date,
        )
        settled.append(billed)
    return settled


def show_credit(connection: Connection, invoice: Invoice, *, customer_id: str) -> Invoice:
    """A draft with what it would draw or give back if it were issued next. Read only."""
    account = CreditAccount(open_grants(connection, [customer_id]).get(customer_id, []))
    return account.draw(invoice, past=_past(connection, invoice, []), entry_date=invoice.billing_date)


def _enter(connection: Connection, accounts: Sequence[CreditAccount], *, now: datetime) -> list[str]:
    """Enter all that settling did; gives the ids of grants that lapsed."""
    write_grants(connection, [stored for account in accounts for stored in account.opened], now=now)
    write_entries(connection, [entry for account in accounts for entry in account.entries], now=now)
    return [grant_id for account in accounts for grant_id in account.lapsed]


def _reach(connection: Connection, customer_ids: Sequence[str]) -> dict[str, Reach]:
    """The contracts of each customer and their drafts."""
    contracts: dict[str, set[str]] = {}
    owned = select(CONTRACTS.c.customer_id, CONTRACTS.c.contract_id)
    for row in select_by_ids(connection, owned, CONTRACTS.c.customer_id, customer_ids):
        contracts.setdefault(row[0], set()).add(row[1])
    drafts: dict[str, dict[str, set[date]]] = {}
    columns = (INVOICES.c.customer_id, INVOICES.c.contract_id, INVOICES.c.billing_date)
    waiting = select(*columns).where(INVOICES.c.state == "draft")
    for row in select_by_ids(connection, waiting, INVOICES.c.customer_id, customer_ids):
        drafts.setdefault(row[0], {}).setdefault(row[1], set()).add(date.fromisoformat(row[2]))
    return {
        customer_id: Reach(
            frozenset(contracts.get(customer_id, ())),
            {key: frozenset(days) for key, days in drafts.get(customer_id, {}).items()},
        )
        for customer_id in customer_ids
    }


def _parsed(draft: Draft) -> Invoice:
    return parse_invoice(draft.text(number=None, issue_date=None))


def _all_shown(
    connection: Connection, drafts: Sequence[Draft], held: Mapping[str, Sequence[StoredGrant]]
) -> list[Draft]:
    """The drafts with what each would draw or give back."""
    giving = {draft.invoice_id for draft in _giving_back(connection, drafts)}
    shown = []
    for draft in drafts:
        if draft.customer_id not in held and draft.invoice_id not in giving:
            shown.append(draft)
            continue
        account, invoice = CreditAccount(list(held.get(draft.customer_id, []))), _parsed(draft)
        past = _past(connection, invoice, [])
        shown.append(with_credit(draft, account.draw(invoice, past=past, entry_date=draft.billing_date)))
    return shown


def _giving_back(connection: Connection, drafts: Sequence[Draft], *, after_tax: bool = True) -> list[Draft]:
    """The drafts that may give credit back: those with a line below zero where credit was taken off lines
    before tax, and with ``after_tax`` those below zero where bills drew credit after it."""
    lowered = [draft for draft in drafts if min(draft.amounts_minor, default=0) < 0]
    below = [draft for draft in lowered if draft.total_minor + draft.tax_minor < 0] if after_tax else []
    off, drew = _drew(connection, lowered, before_tax=True), _drew(connection, below, before_tax=False)
    giving = {draft.invoice_id for draft in below if draft.contract_id in drew}
    return [draft for draft in lowered if draft.contract_id in off or draft.invoice_id in giving]


def _drew(connection: Connection, drafts: Sequence[Draft], *, before_tax: bool) -> set[str]:
    """The contracts of drafts whose bills drew credit."""
    contract_ids = {draft.contract_id for draft in drafts}
    return drew_credit(connection, contract_ids, before_tax=before_tax) if contract_ids else set()


def _past(connection: Connection, invoice: Invoice, beside: Sequence[Invoice]) -> Past | None:
    """What a bill with lines below zero may give back of; None for any other. beside: of its contract,
    settled before it in the same transaction."""
    lowers = any(line.amount_minor < 0 or line.allowances for line in invoice.lines)
    return load_past(connection, invoice, beside=beside) if lowers else None
