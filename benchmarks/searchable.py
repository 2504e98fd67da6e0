"""Issued invoices of any number as the ledger keeps them, written directly, and questions about them.

Every invoice has two lines, a customer with a name of two words, an order number of its own and a note that
few share. Everything comes of the invoice's number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Engine

from ingest.ledger import ledger_transaction
from invoicing.bulk import insert_rows
from invoicing.number import number_text
from invoicing.tables import CUSTOMERS, INVOICES, ISSUED_DOCUMENTS, NUMBER_SERIES

SEARCHED: Final = {"tiny": 2_000, "small": 100_000, "full": 1_000_000}
SERIES: Final = "INV-2026"
_BLOCK: Final = 10_000
_A_CUSTOMER: Final = 25
"""Invoices a customer has."""
_FIRST: Final = ("Northern", "Blue", "Silver", "Delta", "Golden", "Quiet", "Rapid", "Upper", "Old", "Green")
_SECOND: Final = (
    "Harbour",
    "Bakery",
    "Logistics",
    "Airways",
    "Print",
    "Farm",
    "Optics",
    "Tools",
    "Media",
    "Rail",
)
_LINES: Final = (
    "API calls",
    "Storage",
    "Support hours",
    "Data transfer",
    "Licence seats",
    "Training",
    "Freight",
)
_DAY: Final = date(2026, 1, 1)

QUESTIONS: Final = {
    "a number": "INV-2026-000777",
    "an order": "PO-1000777",
    "a customer": "customer-77",
    "a name": "upper tools 77",
    "a note": "agreed with desk 77",
    "two words": "freight blue",
}
"""What is asked, by what kind it is. The last fits many invoices; the others few."""


def fill_with_invoices(ledger: Engine, count: int) -> None:
    """Invoices, their rows of the register and their customers. The chain of hashes is left empty."""
    with ledger_transaction(ledger) as connection:
        customers = ((*_customer_row(number),) for number in range(count // _A_CUSTOMER + 1))
        insert_rows(connection, CUSTOMERS, customers)
    for start in range(0, count, _BLOCK):
        block = range(start, min(start + _BLOCK, count))
        with ledger_transaction(ledger) as connection:
            documents = [(number, *_texts(number)) for number in block]
            insert_rows(connection, INVOICES, (_invoice_row(*each) for each in documents))
            insert_rows(connection, ISSUED_DOCUMENTS, (_register_row(*each) for each in documents))
    with ledger_transaction(ledger) as connection:
        insert_rows(connection, NUMBER_SERIES, [(SERIES, count + 1, "")])


def _customer(number: int) -> dict[str, Any]:
    name = f"{_FIRST[number % 10]} {_SECOND[number // 10 % 10]} {number}"
    return {"customer_id": f"customer-{number}", "name": name, "legal_name": f"{name} GmbH", "country": "DE"}


def _customer_row(number: int) -> Iterator[Any]:
    document = _customer(number)
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()
    yield from (document["customer_id"], 1, text, _hash(text), "2026-01-01T00:00:00", "2026-01-01T00:00:00")


def _texts(number: int) -> tuple[str, str, str]:
    """Id, canonical text and its hash."""
    document_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    day = _DAY + timedelta(days=number * 360 // 1_000_000)
    document = {
        "schema": "ratemill.invoice/1",
        "invoice_id": document_id,
        "number": number_text(series=SERIES, number=number + 1),
        "issue_date": day.isoformat(),
        "customer": _customer(number // _A_CUSTOMER),
        "contract": {"contract_id": f"contract-{number // _A_CUSTOMER}"},
        "terms": {"purchase_order": f"PO-{1_000_000 + number}", "payment_days": 30},
        "note": f"agreed with desk {number % 997}",
        "lines": [
            {
                "line_id": document_id,
                "charge_id": _LINES[(number + step) % 7].split()[0].lower(),
                "description": f"{_LINES[(number + step) % 7]} in region {number % 50}",
                "amount_minor": 1_000 + number % 1_000,
            }
            for step in range(2)
        ],
    }
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()
    return document_id, text, _hash(text)


def _invoice_row(number: int, document_id: str, text: str, text_hash: str) -> tuple[Any, ...]:
    customer, day = number // _A_CUSTOMER, _DAY + timedelta(days=number * 360 // 1_000_000)
    head = (
        document_id,
        f"contract-{customer}/{number % _A_CUSTOMER}",
        f"customer-{customer}",
        day.isoformat(),
    )
    dates = (day.isoformat(), (day + timedelta(days=30)).isoformat())
    money = ("EUR", 2_000 + 2 * (number % 1_000))
    return (*head, "issued", SERIES, number + 1, *dates, *money, text, text_hash, "run", 0, 0, None)


def _register_row(number: int, document_id: str, _text: str, text_hash: str) -> tuple[Any, ...]:
    customer, day = number // _A_CUSTOMER, _DAY + timedelta(days=number * 360 // 1_000_000)
    whose = (SERIES, number + 1, f"customer-{customer}", f"contract-{customer}", "EUR")
    dates = (day.isoformat(), (day + timedelta(days=30)).isoformat())
    money = (2_000 + 2 * (number % 1_000), 0, 0, None)
    return (document_id, "invoice", None, *whose, *dates, *money, text_hash, "", "2026-01-01T00:00:00")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
