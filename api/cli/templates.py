"""`ratemill template`: how documents look, and which template prints what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer

from api.cli.files import save_file
from api.cli.session import Column, Session, command, group, table

TemplateFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A YAML or JSON file with one template.")
]
COLUMNS: tuple[Column, ...] = (
    ("template", "template_id"),
    ("version>", "version"),
    ("name", lambda item: item["document"].get("name", "")),
)


def add_commands(app: typer.Typer) -> None:
    templates = group(app, "template", "Templates: how documents look.")
    _add_show(templates)

    @command(templates, "save")
    def save(session: Session, file: TemplateFile) -> None:
        """Save a template. The same one again changes nothing, another one is a new version."""
        from ingest.document import read_document  # noqa: PLC0415

        body = file.read_bytes()
        name = str(read_document(body).get("template_id", "?"))
        with session.client() as client:
            answer = client.put(f"/v1/templates/{quote(name, safe='')}", body)
        state = "saved" if answer["created"] else "unchanged"
        session.show(answer, f"{name} is at version {answer['version']} ({state}).")

    @command(templates, "use")
    def use(
        session: Session,
        template_id: Annotated[str, typer.Argument(help="The template, from `list`; '' ends a choice.")],
        used_for: Annotated[
            Literal["contract", "customer", "entity", "all"], typer.Option("--for", help="What it prints.")
        ],
        of: Annotated[str, typer.Option("--id", help="Which contract, customer or entity.")] = "all",
    ) -> None:
        """Choose a template for a contract, a customer, an entity or all; the first that has one counts."""
        choice = {"used_for": used_for, "key": of, "template_id": template_id}
        with session.client() as client:
            answer = client.post("/v1/templates/use", choice)
        whose = "All documents" if used_for == "all" else f"Documents of {used_for} {of}"
        session.show(answer, f"{whose} issued from now on: {template_id or 'none of its own'}.")

    @command(templates, "preview")
    def preview(
        session: Session,
        file: TemplateFile,
        out: Annotated[Path, typer.Option(help="File to write.")] = Path("template.pdf"),
    ) -> None:
        """Print a made-up invoice by a template. Nothing is saved."""
        from api.json import to_json  # noqa: PLC0415
        from ingest.document import read_document  # noqa: PLC0415

        document = to_json(read_document(file.read_bytes()))
        with session.client() as client:
            body = client.post_for_bytes("/v1/templates/preview", document, accept="application/pdf")
        save_file(session, out, body)


def _add_show(templates: typer.Typer) -> None:
    @command(templates, "list")
    def list_all(session: Session) -> None:
        """Those in force, by id."""
        with session.client() as client:
            answer = client.get("/v1/templates")
        empty = "No templates yet: documents are plain. `ratemill template save FILE` saves one."
        session.show(answer, table(answer["items"], COLUMNS) if answer["items"] else empty)

    @command(templates, "show")
    def show(
        session: Session, template_id: Annotated[str, typer.Argument(help="The template, from `list`.")]
    ) -> None:
        """One template, as YAML."""
        import yaml  # noqa: PLC0415

        with session.client() as client:
            answer = client.get(f"/v1/templates/{quote(template_id, safe='')}")
        session.show(answer, yaml.safe_dump(answer["document"], sort_keys=False, allow_unicode=True).rstrip())
