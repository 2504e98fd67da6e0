"""Where an invoice is paid to, read from the seller it was issued with.

A seller of the settings has its ``bank_account`` as text; a billing entity has holder, IBAN, BIC or another
kind of account in fields of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invoicing.payment_reference import compact_iban


@dataclass(frozen=True, slots=True)
class Payee:
    """holder: whose account it is; is_named: whether that is stated, else it is the seller. account: as
    people read it, empty where none is known. iban: without spaces, empty where the account is none."""

    holder: str
    account: str
    iban: str
    bic: str
    is_named: bool = False


def payee_of(seller: Mapping[str, Any]) -> Payee:
    """The account of a seller as invoices keep it."""
    stated = seller.get("bank_account") or ""
    fields = stated if isinstance(stated, Mapping) else {"other": stated}
    account = str(fields.get("iban") or seller.get("iban") or fields.get("other") or "")
    named = fields.get("holder") or seller.get("account_holder") or ""
    return Payee(
        holder=str(named or seller.get("legal_name") or seller.get("name") or ""),
        account=account,
        iban=compact_iban(account),
        bic=str(fields.get("bic") or seller.get("bic") or "").replace(" ", "").upper(),
        is_named=bool(named),
    )
