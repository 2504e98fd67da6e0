"""`ratemill customer sync`, `conflicts`, `sources`, `records`, `forget` and others: what systems know of
customers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from api.cli.customer_export import add_export
from api.cli.customer_now import now_shown
from api.cli.deletions import add_delete
from api.cli.payer_habits import add_switch
from api.cli.session import Column, Limit, Session, command, moment, more, table
from ingest.errors import InvalidInput, UnreadableBody


def _others(item: Any) -> str:
    return "; ".join(
        f"{claim['system']}: {_value(claim['says'])} since {moment('since')(claim)[:10]}"
        for claim in item["claims"]
        if claim["says"] != item["value_in_force"]
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        value = [_value(part) for part in value.values() if part]
    return ", ".join(value) if isinstance(value, list) else str(value)


OUTCOME_COLUMNS: Final[tuple[Column, ...]] = (
    ("external id", "external_id"),
    ("customer", "customer_id"),
    ("record", "outcome"),
    ("version>", "version"),
    ("systems differ on", "conflicts"),
)
FIELD_COLUMNS: Final[tuple[Column, ...]] = (
    ("field", "field"),
    ("in force", "value_in_force"),
    ("of", "system"),
    ("why", lambda item: item["why"].replace("_", " ")),
    ("says otherwise", _others),
)
CONFLICT_COLUMNS: Final[tuple[Column, ...]] = (("customer", "customer_id"), *FIELD_COLUMNS)
SHOWN_MAX: Final = 20

System = Annotated[str, typer.Argument(help="The system, like crm.")]
External = Annotated[str, typer.Argument(help="The system's own key of the customer.")]


def add_commands(sub: typer.Typer) -> None:
    """Add them to the group `ratemill customer`."""
    _add_sync(sub)
    _add_views(sub)
    _add_sources(sub)
    add_export(sub)
    _add_import(sub)
    add_switch(sub)
    add_delete(sub, path="/v1/customers", what="customer")

    @command(sub, "now")
    def now(
        session: Session, customer: Annotated[str, typer.Argument(help="The customer, from `list`.")]
    ) -> None:
        """Where a customer stands now: usage, licences, limits, credit and the next billing dates."""
        with session.client() as client:
            answer = client.get(f"/v1/customers/{quote(customer, safe='')}/now")
        session.show(answer, *now_shown(answer))

    @command(sub, "forget")
    def forget(session: Session, system: System, external_id: External) -> None:
        """Take a system's record away: the customer is made of what is left."""
        with session.client() as client:
            answer = client.delete(_address(system, external_id))
        words = f"{external_id} of {system} is forgotten; {answer['customer_id']} is at version {{}}."
        session.show(answer, words.format(answer["version"]))


def _add_sync(sub: typer.Typer) -> None:
    @command(sub, "sync")
    def sync(
        session: Session,
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="CSV, JSON or YAML with one record each.")
        ],
        system: Annotated[str, typer.Option(help="Which system the records are of, like crm.")],
    ) -> None:
        """Send what a system knows of customers: all records or none. Again changes nothing."""
        from api.json import to_json  # noqa: PLC0415

        records = read_records(file)
        path = f"/v1/customers/by-external-id/{quote(system, safe='')}"
        with session.client() as client:
            answer = client.post_bytes(path, to_json(records), content_type="application/json")
        words = (
            "{records:,} records of {system}: {created:,} new, {changed:,} changed, {unchanged:,} unchanged."
        )
        rows = [one for one in answer["items"] if one["outcome"] != "unchanged" or one["conflicts"]]
        shown: list[Any] = [table(rows[:SHOWN_MAX], OUTCOME_COLUMNS)] if rows else []
        if len(rows) > SHOWN_MAX:
            shown.append(f"{len(rows) - SHOWN_MAX:,} more rows; --json has all of them.")
        if answer["in_conflict"]:
            count = answer["in_conflict"]
            shown.append(f"Systems differ on {count:,} of them: `ratemill customer conflicts`.")
        session.show(answer, words.format(**answer), *shown)


def _add_import(sub: typer.Typer) -> None:
    @command(sub, "import")
    def import_file(
        session: Session,
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="CSV as `export` writes it, JSON or YAML.")
        ],
    ) -> None:
        """Save the customers of a file: all of them or none. Again changes nothing."""
        from api.json import to_json  # noqa: PLC0415

        documents = read_records(file)
        for number, document in enumerate(documents, start=1):
            if not document.get("customer_id"):
                raise InvalidInput(
                    f"{file}, record {number} has no customer_id. `ratemill customer sync --system NAME` "
                    "takes records under a system's own keys. Nothing was saved.",
                    reason_code="no_key",
                )
        with session.client() as client:
            answer = client.post_bytes("/v1/customers", to_json(documents), content_type="application/json")
        words = "{saved:,} customers: {created:,} new or changed, {unchanged:,} unchanged."
        session.show(answer, words.format(**answer))


def _add_views(sub: typer.Typer) -> None:
    @command(sub, "conflicts")
    def conflicts(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Where systems differ on a customer: what each says, and which value is in force and why."""
        with session.client() as client:
            answer = client.get("/v1/customers/conflicts", {"customer_id": customer, "limit": limit})
        items = answer["items"]
        empty = "No conflicts: wherever several systems know a field of a customer, they say the same."
        shown: list[Any] = [table(items, CONFLICT_COLUMNS) if items else empty]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)

    @command(sub, "records")
    def records(
        session: Session, customer: Annotated[str, typer.Argument(help="The customer, from `list`.")]
    ) -> None:
        """Where a customer's data comes from, field by field."""
        with session.client() as client:
            answer = client.get(f"/v1/customers/{quote(customer, safe='')}/records")
        empty = (
            "No system has sent anything of this customer: all of it was entered directly. "
            "`ratemill customer sync --system crm FILE` sends records."
        )
        shown = table(answer["fields"], FIELD_COLUMNS) if answer["fields"] else empty
        session.show(answer, shown)


def _add_sources(sub: typer.Typer) -> None:
    @command(sub, "sources")
    def sources(
        session: Session,
        file: Annotated[
            Path | None,
            typer.Argument(
                exists=True, dir_okay=False, help="YAML or JSON; left out: shows what is in force."
            ),
        ] = None,
    ) -> None:
        """Which system is believed for which field; with a file, says it from now on."""
        import yaml  # noqa: PLC0415

        with session.client() as client:
            if file is not None:
                from api.json import to_json  # noqa: PLC0415
                from ingest.document import read_document  # noqa: PLC0415

                content = to_json(read_document(file.read_bytes()))
                saved = client.put("/v1/customers/sources", content, content_type="application/json")
                words = f"Version {saved['version']}" + (
                    " is in force." if saved["created"] else " is in force already and says the same."
                )
                session.show(saved, words)
                return
            answer = client.get("/v1/customers/sources")
        text = yaml.safe_dump(answer["document"], sort_keys=False).rstrip()
        head = f"# version {answer['version']}" if answer["version"] else "# none saved yet"
        session.show(answer, f"{head}\n{text}")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file. In CSV an address is in one cell, its lines divided by line ends or ``|``; a
    column ``more.NAME`` is something else the system knows, one like ``bill_to.name`` a part of a party.
    Raises UnreadableBody and InvalidInput."""
    from ingest.document import read_documents  # noqa: PLC0415

    if path.suffix.lower() != ".csv":
        return read_documents(path.read_bytes())
    import csv  # noqa: PLC0415
    import io  # noqa: PLC0415

    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"{path} is not UTF-8 text: {error}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if len(reader.fieldnames or ()) == 1 and ";" in str(reader.fieldnames):
            raise UnreadableBody(f"{path} has its columns divided by ';'. Save it with commas between them.")
        rows = [_record(path, line, row) for line, row in enumerate(reader, start=1)]
    except csv.Error as error:
        raise UnreadableBody(f"{path}, line {reader.line_num}: {error}.") from None
    if not rows:
        raise InvalidInput(f"{path} has no records. Nothing was sent.", reason_code="empty_body")
    return rows


def _record(path: Path, number: int, row: dict[str | None, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise UnreadableBody(f"{path}, record {number} has another number of cells than the heading.")
    record: dict[str, Any] = {}
    for name, cell in row.items():
        if not cell:
            continue
        if name == "address_lines":
            record[name] = _lines(cell)
        elif "." in str(name):
            group, _, member = str(name).partition(".")
            record.setdefault(group, {})[member] = _member(member, cell)
        else:
            record[str(name)] = cell
    return record


def _member(name: str, cell: str) -> Any:
    """A part of a party or of delivery. A recipient is ``payer:ap@acme.example``."""
    if name == "address_lines":
        return _lines(cell)
    if name != "recipients":
        return cell
    parts = [line.rpartition(":") for line in _lines(cell)]
    return [{"email": email, **({"role": role} if role else {})} for role, _, email in parts]


def _lines(cell: str) -> list[str]:
    return [line.strip() for line in cell.replace("|", "\n").splitlines() if line.strip()]


def _address(system: str, external_id: str) -> str:
    return f"/v1/customers/by-external-id/{quote(system, safe='')}/{quote(external_id, safe='')}"
