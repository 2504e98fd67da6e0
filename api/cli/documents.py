"""`ratemill meter`, `plan`, `customer`, `entity`, `contract` and others: documents put and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli import customers, tax
from api.cli.session import Column, Limit, Session, command, group, moment, more, table
from ingest.errors import InvalidInput, UnreadableBody

if TYPE_CHECKING:
    from api.client import RatemillClient

Files = Annotated[
    list[Path],
    typer.Argument(
        exists=True, dir_okay=False, help="YAML or JSON files; a file may hold several documents."
    ),
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document. ``bulk``: many may be saved in one request, all or none."""

    name: str
    path: str
    key: str
    help: str
    bulk: bool
    columns: tuple[Column, ...]


KINDS: Final = (
    Kind(
        "meter",
        "/v1/meters",
        "meter_id",
        "Meters: what is counted.",
        False,
        (
            ("meter", "meter_id"),
            ("name", "name"),
            ("event type", "event_type"),
            ("aggregation", "aggregation"),
            ("group keys", "group_by"),
            ("unit", "unit"),
        ),
    ),
    Kind(
        "plan",
        "/v1/price-plans",
        "plan_id",
        "Price plans: what it costs.",
        False,
        (
            ("plan", "plan_id"),
            ("version>", "version"),
            ("prices from", "effective_from"),
            ("saved", moment("created_at")),
        ),
    ),
    Kind(
        "customer",
        "/v1/customers",
        "customer_id",
        "Customers: to whom invoices are addressed.",
        True,
        (
            ("customer", "customer_id"),
            ("name", lambda item: item["document"]["name"]),
            ("country", lambda item: item["document"].get("country")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "calendar",
        "/v1/calendars",
        "calendar_id",
        "Holiday calendars: on which days nobody is invoiced.",
        False,
        (
            ("calendar", "calendar_id"),
            ("name", lambda item: item["document"].get("name")),
            ("holidays>", lambda item: len(item["document"]["holidays"])),
            ("version>", "version"),
        ),
    ),
    Kind(
        "entity",
        "/v1/billing-entities",
        "entity_id",
        "Billing entities: who sends invoices.",
        False,
        (
            ("entity", "entity_id"),
            ("name", lambda item: item["document"]["legal_name"]),
            ("country", lambda item: item["document"]["country"]),
            ("tax id", lambda item: item["document"].get("tax_id")),
            ("default", lambda item: "yes" if item["document"].get("default") else ""),
            ("version>", "version"),
        ),
    ),
    Kind(
        "tax-rates",
        "/v1/tax-rates",
        "tax_rates_id",
        "Tax rates: by country, class and day.",
        False,
        (
            ("tax rates", "tax_rates_id"),
            ("rates>", lambda item: len(item["document"]["rates"])),
            ("classes", lambda item: sorted({rate["tax_class"] for rate in item["document"]["rates"]})),
            ("version>", "version"),
        ),
    ),
    Kind(
        "country-profile",
        "/v1/country-profiles",
        "country",
        "Country profiles: what an invoice must say.",
        False,
        (
            ("country", "country"),
            ("fields>", lambda item: len(item["document"]["required"])),
            ("version>", lambda item: item["version"] or "shipped"),
        ),
    ),
    Kind(
        "review-rules",
        "/v1/review-rules",
        "rules_id",
        "Review rules: which drafts people look at, and who.",
        False,
        (
            ("rules", "rules_id"),
            ("policy", lambda item: item["document"]["policy"]),
            ("above", lambda item: item["document"]["thresholds"]),
            ("reviewers", lambda item: item["document"]["reviewers"]),
            ("version>", "version"),
        ),
    ),
    Kind(
        "product",
        "/v1/products",
        "product_id",
        "Catalogue: products, services and bundles of them.",
        False,
        (
            ("product", "product_id"),
            ("name", lambda item: item["document"]["name"]),
            ("kind", lambda item: item["document"]["kind"]),
            ("billed", lambda item: item["document"].get("billed")),
            ("prices", lambda item: item["document"]["prices"]),
            (
                "holds",
                lambda item: {
                    part["product_id"]: part["quantity"] for part in item["document"]["components"]
                },
            ),
            ("version>", "version"),
        ),
    ),
    Kind(
        "price-list",
        "/v1/price-lists",
        "price_list_id",
        "Price lists: prices that hold instead of the catalogue's.",
        False,
        (
            ("price list", "price_list_id"),
            ("name", lambda item: item["document"]["name"]),
            ("prices>", lambda item: len(item["document"]["prices"])),
            ("", lambda item: item["document"]["currency"]),
            ("valid from", lambda item: item["document"].get("valid_from")),
            ("until before", lambda item: item["document"].get("valid_until")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "promotion",
        "/v1/promotions",
        "promotion_id",
        "Promotions: percentages off list prices.",
        False,
        (
            ("promotion", "promotion_id"),
            ("name", lambda item: item["document"]["name"]),
            ("percent off>", lambda item: item["document"]["percent"]),
            ("of", lambda item: item["document"]["product_ids"]),
            ("first periods>", lambda item: item["document"].get("first_periods")),
            ("valid from", lambda item: item["document"].get("valid_from")),
            ("until before", lambda item: item["document"].get("valid_until")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "contract",
        "/v1/contracts",
        "contract_id",
        "Contracts: who is on which plan.",
        True,
        (
            ("contract", "contract_id"),
            ("customer", "customer_id"),
            ("plan", "plan_id"),
            ("from", "start_date"),
            ("until before", "end_date"),
            ("time zone", "time_zone"),
            ("billed", "cadence"),
            ("version>", "version"),
        ),
    ),
)
SAVED_COLUMNS: Final[tuple[Column, ...]] = (("key", "key"), ("version>", "version"), ("saved", "words"))


def add_commands(app: typer.Typer) -> None:
    for kind in KINDS:
        sub = group(app, kind.name, kind.help)
        _add_put(sub, kind)
        if kind.name != "customer":
            _add_list(sub, kind)
        _add_show(sub, kind)
        if kind.name == "customer":
            _add_customer_list(sub, kind)
            customers.add_commands(sub)
        if kind.name == "entity":
            tax.add_entity_commands(sub)
        if kind.name == "tax-rates":
            tax.add_rates_commands(sub)
        if kind.name == "contract":
            _add_preview(sub)
            _add_dates(sub)


def _add_put(sub: typer.Typer, kind: Kind) -> None:
    @command(sub, "put")
    def put(session: Session, files: Files) -> None:
        """Save the documents in the files. The same document again changes nothing."""
        documents = [document for path in files for document in _read_file(path, kind)]
        with session.client() as client:
            answers = save_documents(client, kind, documents)
        if "saved" in answers[0]:
            words = "{saved:,} documents: {created:,} saved, {unchanged:,} unchanged.".format(**answers[0])
            session.show(answers[0], words)
            return
        rows = [
            {
                "key": answer[kind.key],
                "version": answer.get("version"),
                "words": "new" if answer["created"] else "unchanged: this very document is on record",
            }
            for answer in answers
        ]
        warnings = [
            f"warning: {answer[kind.key]}: {warning['pointer']}: {warning['message']} "
            f"Expected: {warning['expected']} [{warning['reason_code']}]"
            for answer in answers
            for warning in answer.get("warnings", [])
        ]
        session.show({"items": answers}, table(rows, SAVED_COLUMNS), *warnings)


def _read_file(path: Path, kind: Kind) -> list[dict[str, Any]]:
    """The documents of one file. Raises UnreadableBody and InvalidInput, which name the file."""
    from ingest.document import read_documents  # noqa: PLC0415

    try:
        documents = read_documents(path.read_bytes())
    except UnreadableBody as error:
        raise UnreadableBody(f"{path}: {error}", reason_code=error.reason_code) from None
    for number, document in enumerate(documents, start=1):
        if not document.get(kind.key):
            place = f"{path}, document {number}" if len(documents) > 1 else str(path)
            raise InvalidInput(
                f"{place}: there is no {kind.key}, so this is no {kind.name}. "
                f"`ratemill schema {kind.name}` shows its fields. Nothing was saved.",
                reason_code="no_key",
            )
    return documents


def save_documents(client: RatemillClient, kind: Kind, documents: Sequence[dict[str, Any]]) -> list[Any]:
    """One answer a document, or one in all for many documents of a kind that takes them together."""
    from api.json import to_json  # noqa: PLC0415

    json_type = "application/json"
    if kind.bulk and len(documents) > 20:
        return [client.post_bytes(kind.path, to_json(list(documents)), content_type=json_type)]
    answers = []
    for document in documents:
        path = f"{kind.path}/{document[kind.key]}"
        answers.append(client.put(path, to_json(document), content_type=json_type))
    return answers


def _add_list(sub: typer.Typer, kind: Kind) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        limit: Limit = 100,
    ) -> None:
        """Those on record, by key."""
        empty = (
            f"No {kind.help.split(':')[0].lower()} yet. `ratemill {kind.name} put FILE` saves one; "
            f"`ratemill schema {kind.name}` shows its fields."
        )
        _show_list(session, kind, {"limit": limit}, empty)


def _add_customer_list(sub: typer.Typer, kind: Kind) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        search: Annotated[
            str | None, typer.Option(help="Part of a key, name, e-mail address, tax id or external id.")
        ] = None,
        limit: Limit = 100,
    ) -> None:
        """Those on record, by key."""
        empty = "No customers yet. `ratemill customer put FILE` saves one; `sync` takes them from a system."
        if search is not None:
            empty = f"No customer has {search!r} in its key, name, e-mail address, tax id or external ids."
        _show_list(session, kind, {"limit": limit, "search": search}, empty)


def _show_list(session: Session, kind: Kind, params: dict[str, Any], empty: str) -> None:
    with session.client() as client:
        answer = client.get(kind.path, params)
    shown: list[Any] = [table(answer["items"], kind.columns) if answer["items"] else empty]
    if answer.get("next_cursor"):
        shown.append(more(params["limit"]))
    session.show(answer, *shown)


def _add_show(sub: typer.Typer, kind: Kind) -> None:
    @command(sub, "show")
    def show(session: Session, name: Annotated[str, typer.Argument(help="Its key, from `list`.")]) -> None:
        """One document, as YAML."""
        import yaml  # noqa: PLC0415

        with session.client() as client:
            answer = client.get(f"{kind.path}/{name}")
        document = answer.get("document", answer)
        session.show(answer, yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())


def _add_preview(sub: typer.Typer) -> None:
    @command(sub, "preview")
    def preview(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="The contract, from `list`.")],
        pdf: Annotated[Path | None, typer.Option(help="Write a pro-forma invoice to this file.")] = None,
    ) -> None:
        """The invoice as it would be now. Nothing is stored."""
        from api.cli.electronic_invoices import write_file  # noqa: PLC0415
        from api.cli.invoice_view import invoice_shown  # noqa: PLC0415

        with session.client() as client:
            if pdf is not None:
                body = client.get_bytes(f"/v1/contracts/{contract_id}/preview", accept="application/pdf")
                write_file(pdf, body)
                session.show({"path": str(pdf), "bytes": len(body)}, f"{pdf} ({len(body):,} bytes)")
                return
            answer = client.get(f"/v1/contracts/{contract_id}/preview")
        session.show(answer, *invoice_shown(answer))


DATE_COLUMNS: Final[tuple[Column, ...]] = (
    ("billing date", "billing_date"),
    ("invoiced on", "invoice_day"),
    ("from", "first_day"),
    ("to", "last_day"),
    ("plans", "plan_ids"),
)


def _add_dates(sub: typer.Typer) -> None:
    @command(sub, "dates")
    def dates(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="The contract, from `list`.")],
        count: Annotated[int, typer.Option(min=1, max=36, help="How many.")] = 12,
    ) -> None:
        """Its next billing dates: when each is invoiced, and what it bills."""
        with session.client() as client:
            answer = client.get(f"/v1/contracts/{contract_id}/billing-dates", {"count": count})
        empty = "Nothing is to come: the contract is billed to its end, or has nothing to charge."
        session.show(answer, table(answer["items"], DATE_COLUMNS) if answer["items"] else empty)
