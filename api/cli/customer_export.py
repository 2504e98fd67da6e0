"""`ratemill customer export`: all customers in force, to a file for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.session import LIST_LIMIT_MAX, Session, command
from ingest.errors import InvalidInput

if TYPE_CHECKING:
    from api.client import RatemillClient

FIELDS: Final = (
    "customer_id",
    "name",
    "legal_name",
    "email",
    "address_lines",
    "country",
    "tax_id",
    "language",
    "tax_status",
    "tax_exempt_reason",
    "tax_exempt_code",
    "parent_id",
    "time_zone",
    "locale",
    "billing_entity",
    "ap_terms_days",
    "purchase_order_required",
    "endpoint_id",
    "endpoint_scheme",
    "buyer_reference",
    "account_owner",
)
PARTY_FIELDS: Final = ("name", "email", "address_lines", "country")
_PARTIES: Final = [f"{role}.{name}" for role in ("sold_to", "bill_to", "notify") for name in PARTY_FIELDS]
DELIVERY_FIELDS: Final = (
    "channel",
    "address",
    "weekday",
    "hour",
    "time_zone",
    "confirm_above_minor",
    "follow_up_days",
    "recipients",
)
_DELIVERY: Final = "delivery."
_EXTERNAL: Final = "external_ids."


def add_export(sub: typer.Typer) -> None:
    """Add the command to the group `ratemill customer`."""

    @command(sub, "export")
    def export(
        session: Session,
        file: Annotated[Path, typer.Argument(dir_okay=False, help="Ends in .csv or .json; is overwritten.")],
    ) -> None:
        """Write all customers in force to a CSV or JSON file."""
        form = file.suffix.lower()
        if form not in (".csv", ".json"):
            raise InvalidInput(
                f"{file} ends neither in .csv nor in .json, so its form is not known. Nothing was written.",
                reason_code="unknown_file_type",
            )
        from api.json import to_json  # noqa: PLC0415

        with session.client() as client:
            documents = list(_documents(client))
        content = _csv(documents).encode() if form == ".csv" else to_json(documents)
        # Beside it first: a file that is there is whole, or the one from before.
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(content)
        part.replace(file)
        session.show(
            {"file": str(file), "customers": len(documents)}, f"{len(documents):,} customers in {file}."
        )


def _documents(client: RatemillClient) -> Iterator[Mapping[str, Any]]:
    cursor = None
    while True:
        page = client.get("/v1/customers", {"limit": LIST_LIMIT_MAX, "cursor": cursor})
        yield from (item["document"] for item in page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _csv(documents: Sequence[Mapping[str, Any]]) -> str:
    """One row a customer; the lines of an address are divided by ``|``, and so are recipients, each with its
    role before it (``payer:ap@acme.example``). As `ratemill customer import` reads it: whole, since what a
    row leaves out is taken from the customer."""
    import csv  # noqa: PLC0415
    import io  # noqa: PLC0415

    systems = sorted({system for document in documents for system in document["external_ids"]})
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    delivery = [f"{_DELIVERY}{field}" for field in DELIVERY_FIELDS]
    writer.writerow([*FIELDS, *_PARTIES, *delivery, *(f"{_EXTERNAL}{system}" for system in systems)])
    for document in documents:
        own = document["external_ids"]
        cells = [_cell(document.get(field)) for field in FIELDS]
        for place in _PARTIES:
            role, _, name = place.partition(".")
            cells.append(_cell((document.get(role) or {}).get(name)))
        wanted = document.get("delivery") or {}
        cells += [_cell(wanted.get(field)) for field in DELIVERY_FIELDS[:-1]]
        cells.append("|".join(f"{one['role']}:{one['email']}" for one in wanted.get("recipients", ())))
        writer.writerow([*cells, *(own.get(system, "") for system in systems)])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "|".join(value) if isinstance(value, list) else str(value)
