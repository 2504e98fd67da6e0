"""How an invoice and money look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from api.cli.session import Column, grouped_number, table

_OF_MONEY: Final = frozenset({"minimum_spend", "fee_credit", "commitment_true_up"})
_PRORATED_KINDS: Final = frozenset({"recurring", "licence", *_OF_MONEY})


def money(amount_minor: int, digits: int) -> str:
    """Minor units as people write them: 123456 with two digits is ``1,234.56``."""
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**digits)
    return f"{sign}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


def money_column(name: str) -> Any:
    """Reads an amount in minor units of the item's currency as text; empty where there is none."""

    def read(item: Mapping[str, Any]) -> str:
        from rating.money import minor_digits  # noqa: PLC0415

        return "" if item[name] is None else money(item[name], minor_digits(item["currency"]))

    return read


def invoice_shown(invoice: Mapping[str, Any]) -> list[Any]:
    """Head, lines and total of an invoice, to print one after the other."""
    digits = int(invoice["minor_digits"])
    columns: tuple[Column, ...] = (
        ("what, for when, line id", lambda line: _what(line, digits)),
        ("quantity>", _quantity),
        ("price", _price),
        (f"{invoice['currency']}>", lambda line: money(line["amount_minor"], digits)),
    )
    head = f"Invoice {invoice['number'] or '(draft, no number)'} for {invoice['customer'].get('name', '')}"
    dates = f"billing date {invoice['billing_date']}, due {invoice['due_date'] or 'when issued'}"
    if not invoice["lines"]:
        return [head, dates, "No lines: nothing to bill."]
    sums = [
        *_tax_shown(invoice, digits),
        *_credit_shown(invoice, digits),
        *standing_shown(invoice, digits),
    ]
    return [head, dates, table(invoice["lines"], columns), *sums]


def _tax_shown(invoice: Mapping[str, Any], digits: int) -> list[str]:
    currency = invoice["currency"]
    total = f"{money(invoice['total_minor'], digits)} {currency}"
    if not isinstance(invoice["tax"], list):
        return [f"Total {total}, taxes not included."]
    rows = [f"Net {total}"]
    for group in invoice["tax"]:
        taxable = money(group["taxable_minor"], digits)
        rate = f"{group['rate_percent']} %" if group["rate_percent"] != "0" else "none"
        why = f": {group['reason']}" if group["reason"] else ""
        tax = money(group["tax_minor"], digits)
        rows.append(f"Tax {group['category']} {rate} on {taxable}: {tax} {currency}{why}")
    gross = invoice["total_minor"] + sum(group["tax_minor"] for group in invoice["tax"])
    return [*rows, f"Gross {money(gross, digits)} {currency}"]


def standing_shown(invoice: Mapping[str, Any], digits: int) -> list[str]:
    """State, what is open, what may be done, what happens next; nothing for a preview, which has none."""
    standing = invoice.get("standing")
    if standing is None:
        return []
    words = f"State: {standing['state'].replace('_', ' ')}"
    if standing["credited_minor"]:
        words += f", credited {money(standing['credited_minor'], digits)}"
    if standing["written_off_minor"]:
        words += f", written off {money(standing['written_off_minor'], digits)}"
    words += f", open {money(standing['open_minor'], digits)} {invoice['currency']}"
    words += ", overdue." if standing["overdue"] else "."
    can = ", ".join(action["action"] for action in standing["actions"])
    if standing["next_step"]:
        return [words, f"It can be done: {can}. It {standing['next_step']} on {standing['next_step_on']}."]
    return [words, f"It can be done: {can}. Nothing happens by itself."]


def _credit_shown(invoice: Mapping[str, Any], digits: int) -> list[str]:
    drawn = invoice.get("drawn_credit")
    if not drawn:
        return []
    rows = [
        f"{'Back to credit' if entry['amount_minor'] < 0 else 'Credit'} {entry['name']} "
        f"({entry['grant_id']}): {money(-entry['amount_minor'], digits)}, "
        f"{money(entry['remaining_minor'], digits)} left"
        for entry in drawn["grants"]
    ]
    return [*rows, f"Amount due {money(drawn['due_minor'], digits)} {invoice['currency']}."]


def _what(line: Mapping[str, Any], digits: int) -> str:
    """Three lines of text; the id has one of its own, so that it can be copied whole."""
    from rating.proration import part_words  # noqa: PLC0415 - pulls in the price models

    shown = {} if line["charge_kind"] == "item" else line["dimensions"]  # the description has an item's
    dimensions = ", ".join(f"{name} {value}" for name, value in shown.items())
    what = f"{line['description']} ({dimensions})" if dimensions else str(line["description"])
    last = date.fromisoformat(line["period_end"]) - timedelta(days=1)
    prorated = line["charge_kind"] in _PRORATED_KINDS and line["days"] < line["full_days"]
    if "adjusts" in line:
        what = f"{what}\n{_adjusts(line, line['adjusts'], digits)}"
    for entry in line.get("allowances", ()):
        what = f"{what}\nless {money(entry['amount_minor'], digits)} of credit {entry['name']}, before tax"
    part = f", {part_words(line['days'], line['full_days'])}" if prorated else ""
    return f"{what}\n{line['period_start']} to {last}{part}\n{line['line_id']}"


def _adjusts(line: Mapping[str, Any], was: Mapping[str, Any], digits: int) -> str:
    """``90 -> 140, 9.00 -> 12.00, INV-2026-000001 of 2026-02-01``: as billed, as it is now, and where."""
    from rating.money import exact_money  # noqa: PLC0415 - as above

    before, now = (
        exact_money(Decimal(was[name]), digits=digits, grouped=True)
        for name in ("billed_amount", "rated_amount")
    )
    quantities = f"{grouped_number(was['billed_quantity'])} -> {grouped_number(line['quantity'])}"
    return f"{quantities}, {before} -> {now}, {was['invoice_number'] or 'the bill'} of {was['billing_date']}"


def _quantity(line: Mapping[str, Any]) -> str:
    """What was priced, so that it goes with unit and price."""
    if line["charge_kind"] in {*_OF_MONEY, "credit_top_up", "adjustment", "correction"}:
        return ""
    return f"{grouped_number(line['rated_quantity'])} {line['unit']}"


def _price(line: Mapping[str, Any]) -> str:
    from rating.money import grouped_words  # noqa: PLC0415 - pulls in the price models

    agreed = ["by contract"] if line.get("price_source") == "contract" else []
    taken = [f"{entry['name']}: -{entry['amount']}" for entry in line.get("discounts", ())]
    return "\n".join([grouped_words(line["price_text"]), *agreed, *taken])
