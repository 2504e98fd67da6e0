"""Payments as they are listed and shown: applied and unapplied, and what each pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, ScalarSelect, exists, func, select

from ingest.errors import NotFound
from invoicing.number import number_text
from invoicing.pay_out_tables import PAY_OUT_PARTS
from invoicing.payment_tables import PAYMENT_ALLOCATIONS, PAYMENT_RETURNS, PAYMENTS
from invoicing.tables import ISSUED_DOCUMENTS

_P, _A, _R = PAYMENTS.c, PAYMENT_ALLOCATIONS.c, PAYMENT_RETURNS.c


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments: every field that is not None must hold. only_unapplied: of which something is left."""

    customer_id: str | None = None
    only_unapplied: bool = False


def list_payments(
    ledger: Engine, *, chosen: PaymentFilter, limit: int, after: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """Up to ``limit`` payments by value date and id, those after the given value date and id."""
    applied = (
        select(func.coalesce(func.sum(_A.amount_minor), 0))
        .where(_A.payment_id == _P.payment_id)
        .scalar_subquery()
    )
    returned = exists().where(_R.payment_id == _P.payment_id)
    statement = select(
        PAYMENTS,
        applied.label("applied_minor"),
        _paid_out().label("paid_out_minor"),
        returned.label("returned"),
    )
    if chosen.customer_id is not None:
        statement = statement.where(_P.customer_id == chosen.customer_id)
    if chosen.only_unapplied:
        statement = statement.where(applied + _paid_out() < _P.amount_minor, ~returned)
    if after is not None:
        later = (_P.value_date > after[0]) | ((_P.value_date == after[0]) & (_P.payment_id > after[1]))
        statement = statement.where(later)
    with ledger.connect() as connection:
        rows = connection.execute(statement.order_by(_P.value_date, _P.payment_id).limit(limit)).mappings()
        return [_shown(dict(row)) for row in rows]


def get_payment(ledger: Engine, payment_id: str) -> dict[str, Any]:
    """One payment with every row of what was applied and taken back. Raises NotFound."""
    with ledger.connect() as connection:
        wanted = select(PAYMENTS, _paid_out().label("paid_out_minor")).where(_P.payment_id == payment_id)
        row = connection.execute(wanted).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no payment {payment_id!r}. `ratemill payment list` shows what came in.")
        rows = _allocations(connection, payment_id)
        back = (
            connection.execute(select(PAYMENT_RETURNS).where(_R.payment_id == payment_id)).mappings().first()
        )
    applied = sum(each["amount_minor"] for each in rows)
    shown = _shown({**row, "applied_minor": applied, "returned": back is not None})
    reason = {} if back is None else {"returned_on": back["entry_date"], "return_reason": back["reason"]}
    return {**shown, **reason, "allocations": rows}


def _paid_out() -> ScalarSelect[Any]:
    """What of a payment went back to the customer."""
    parts = PAY_OUT_PARTS.c
    total = func.coalesce(func.sum(parts.amount_minor), 0)
    return select(total).where(parts.payment_id == _P.payment_id).scalar_subquery()


def _allocations(connection: Connection, payment_id: str) -> list[dict[str, Any]]:
    register = ISSUED_DOCUMENTS.c
    statement = (
        select(PAYMENT_ALLOCATIONS, register.series, register.number)
        .select_from(PAYMENT_ALLOCATIONS.join(ISSUED_DOCUMENTS))
        .where(_A.payment_id == payment_id)
        .order_by(_A.position)
    )
    kept = ("position", "document_id", "amount_minor", "net_minor", "entry_date", "rule", "created_by")
    return [
        {
            "number": number_text(series=row["series"], number=row["number"]),
            **{name: row[name] for name in kept},
        }
        for row in connection.execute(statement).mappings()
    ]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("payment_id", "customer_id", "currency", "amount_minor", "value_date", "reference", "text")
    used = int(row["applied_minor"]) + int(row["paid_out_minor"])
    unapplied = 0 if row["returned"] else row["amount_minor"] - used
    return {
        **{name: row[name] for name in kept},
        "bank_reference": row["bank_reference"],
        "source": row["source"],
        "applied_minor": int(row["applied_minor"]),
        "paid_out_minor": int(row["paid_out_minor"]),
        "unapplied_minor": unapplied,
        "state": _state(row, unapplied),
        "recorded_at": row["recorded_at"],
        "recorded_by": row["recorded_by"],
    }


def _state(row: dict[str, Any], unapplied: int) -> str:
    """``paid_out``: it paid nothing, and all of it went back."""
    if row["returned"]:
        return "returned"
    if unapplied:
        return "unapplied"
    return "applied" if row["applied_minor"] else "paid_out"
