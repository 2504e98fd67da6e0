"""`ratemill meter`, `plan`, `customer`, `entity`, `contract` and others: documents put and looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli import contracts, customers, tax
from api.cli.document_kinds import KINDS, Kind
from api.cli.session import Column, Limit, Session, command, group, more, table
from ingest.errors import InvalidInput, UnreadableBody

if TYPE_CHECKING:
    from api.client import RatemillClient

Files = Annotated[
    list[Path],
    typer.Argument(
        exists=True, dir_okay=False, help="YAML or JSON files; a file may hold several documents."
    ),
]
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
            contracts.add_commands(sub)


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
            warning_words(answer[kind.key], warning)
            for answer in answers
            for warning in answer.get("warnings", [])
        ]
        session.show({"items": answers}, table(rows, SAVED_COLUMNS), *warnings)


def warning_words(key: str, warning: Mapping[str, str]) -> str:
    """What the API warns of, in one line."""
    return (
        f"warning: {key}: {warning['pointer']}: {warning['message']} "
        f"Expected: {warning['expected']} [{warning['reason_code']}]"
    )


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
    empty = (
        f"No {kind.help.split(':')[0].lower()} yet. `ratemill {kind.name} put FILE` saves one; "
        f"`ratemill schema {kind.name}` shows its fields."
    )
    if kind.paged:

        @command(sub, "list")
        def list_some(session: Session, limit: Limit = 100) -> None:
            """Those on record, by key."""
            _show_list(session, kind, {"limit": limit}, empty)

    else:

        @command(sub, "list")
        def list_all(session: Session) -> None:
            """Those on record, by key."""
            _show_list(session, kind, {}, empty)


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
