"""An invoice whose lines were changed: its total, tax groups and net amounts counted again. Pure."""

from __future__ import annotations

from dataclasses import replace

from invoicing.invoice import Invoice, InvoiceLine
from invoicing.invoice_tax import InvoiceTax
from invoicing.tax_amounts import net_parts, tax_in_gross, tax_on_net


def with_tax_again(invoice: Invoice) -> Invoice:
    """The invoice with total, tax groups and net amounts counted from its lines."""
    lines = list(invoice.lines)
    groups = []
    for group in invoice.tax:
        places = [place for place, line in enumerate(lines) if is_of_group(line, group)]
        with_tax = [place for place in places if inclusive_minor(lines[place]) is not None]
        priced = [inclusive_minor(lines[place]) or 0 for place in with_tax]
        net = sum(lines[place].amount_minor for place in places if place not in with_tax)
        for place, part in zip(with_tax, net_parts(priced, group.rate_percent), strict=True):
            lines[place] = replace(lines[place], amount_minor=part)
        tax = tax_on_net(net, group.rate_percent) + tax_in_gross(sum(priced), group.rate_percent)
        taxable = sum(lines[place].amount_minor for place in places)
        groups.append(replace(group, taxable_minor=taxable, tax_minor=tax))
    total = sum(line.amount_minor for line in lines)
    return replace(invoice, lines=tuple(lines), tax=tuple(groups), total_minor=total)


def priced_minor(line: InvoiceLine) -> int:
    """What the line comes to as it is priced: with tax where its price includes it, else net."""
    inclusive = inclusive_minor(line)
    return line.amount_minor if inclusive is None else inclusive


def inclusive_minor(line: InvoiceLine) -> int | None:
    """What was priced, tax included; None where prices are net."""
    return None if line.tax is None else line.tax.inclusive_minor


def priced_again(line: InvoiceLine, amount_minor: int) -> InvoiceLine:
    """The line with another amount as priced; its net amount is counted by ``with_tax_again``."""
    if line.tax is None or line.tax.inclusive_minor is None:
        return replace(line, amount_minor=amount_minor)
    return replace(line, tax=replace(line.tax, inclusive_minor=amount_minor))


def is_of_group(line: InvoiceLine, group: InvoiceTax) -> bool:
    """Whether the line is taxed in the group."""
    return line.tax is not None and (line.tax.category, line.tax.rate_percent) == (
        group.category,
        group.rate_percent,
    )
