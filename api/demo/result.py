"""Reads every invoice of the demo back and adds it up again, in integers, apart from the billing run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl

from api.client import RatemillClient
from api.demo.catalogue import contract_id
from api.demo.show import AirlineYear
from ingest.errors import BrokenState

LANDING_CHARGE: Final = "landing"
"""The charge whose quantity is the number of departures."""
PAGE_INVOICES: Final = 200


@dataclass(frozen=True, slots=True)
class DemoResult:
    """airlines: one a carrier, in order of code. departures: as billed. largest_invoice: its document.
    ``explained_line_id``: the landing line of the largest invoice, which reaches the most tiers.
    """

    airlines: tuple[AirlineYear, ...]
    invoice_count: int
    line_count: int
    total_minor: int
    lines_minor: int
    departures: int
    largest_invoice: dict[str, Any]
    explained_line_id: str


def read_result(client: RatemillClient, airlines: pl.DataFrame) -> DemoResult:
    """Every invoice of the demo's contracts, summed by line and by invoice.

    Raises BrokenState when an invoice's lines do not add up to it.
    """
    invoices: dict[str, list[dict[str, Any]]] = defaultdict(list)
    carriers = {contract_id(carrier): carrier for carrier in airlines["carrier"]}
    for row in _invoice_rows(client):
        if row["contract_id"] in carriers:
            document = client.get(f"/v1/invoices/{row['invoice_id']}")
            _check_sum(document)
            invoices[carriers[row["contract_id"]]].append(document)
    years = tuple(
        _year(carrier, name, invoices[carrier]) for carrier, name in airlines.sort("carrier").iter_rows()
    )
    every = [document for documents in invoices.values() for document in documents]
    largest = max(every, key=lambda document: (document["total_minor"], document["billing_date"]))
    return DemoResult(
        airlines=years,
        invoice_count=len(every),
        line_count=sum(len(document["lines"]) for document in every),
        total_minor=sum(document["total_minor"] for document in every),
        lines_minor=sum(line["amount_minor"] for document in every for line in document["lines"]),
        departures=sum(year.departures for year in years),
        largest_invoice=largest,
        explained_line_id=_landing_lines(largest)[0]["line_id"],
    )


def _invoice_rows(client: RatemillClient) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = client.get("/v1/invoices", {"limit": PAGE_INVOICES, "cursor": cursor})
        yield from page["items"]
        cursor = page.get("next_cursor")
        if cursor is None:
            return


def _check_sum(document: dict[str, Any]) -> None:
    summed = sum(line["amount_minor"] for line in document["lines"])
    if summed != document["total_minor"]:
        raise BrokenState(
            f"invoice {document['number']} says {document['total_minor']} cents, its lines sum to {summed}. "
            "This is a defect of Ratemill; please report it with the folder's files."
        )


def _year(carrier: str, name: str, documents: list[dict[str, Any]]) -> AirlineYear:
    in_order = sorted(documents, key=lambda document: str(document["billing_date"]))
    departures = sum(Decimal(line["quantity"]) for document in documents for line in _landing_lines(document))
    return AirlineYear(
        carrier=carrier,
        name=name,
        departures=int(departures),
        totals_minor=tuple(document["total_minor"] for document in in_order),
    )


def _landing_lines(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for line in document["lines"] if line["charge_id"] == LANDING_CHARGE]
