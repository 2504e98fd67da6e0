"""`ratemill keys`: works on the ledger itself when no server is named, so the first key can be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.session import Column, Session, command, group, moment, table

if TYPE_CHECKING:
    from sqlalchemy import Engine

COLUMNS: tuple[Column, ...] = (
    ("key", "key_id"),
    ("name", "name"),
    ("scopes", "scopes"),
    ("only customer", "customer_id"),
    ("made", moment("created_at")),
    ("revoked", moment("revoked_at")),
)


def add_commands(app: typer.Typer) -> None:
    keys = group(app, "keys", "API keys: make, list, revoke.")

    @command(keys, "create")
    def create(
        session: Session,
        scope: Annotated[
            list[str],
            typer.Option(
                help="ingest, read, current_bill, send, review, bill or admin; may be given several times."
            ),
        ],
        name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
        customer: Annotated[
            str | None, typer.Option(help="A read key for this customer's own figures and no other's.")
        ] = None,
    ) -> None:
        """Make an API key. The token is shown this once."""
        if _over_http(session):
            with session.client() as client:
                asked = {"name": name, "scopes": scope, "customer_id": customer}
                made = client.post("/v1/api-keys", asked)
        else:
            from api.auth import create_key  # noqa: PLC0415
            from ingest.clock import SystemClock  # noqa: PLC0415

            with _ledger(session) as ledger:
                now = SystemClock().now()
                key, token = create_key(ledger, name=name, scopes=scope, customer_id=customer, now=now)
            made = {**key.to_dict(), "token": token}
        session.say("Keep this token: only its hash is stored and it cannot be shown again.")
        session.show(made, made["token"])

    @command(keys, "list")
    def list_all(session: Session) -> None:
        """All keys, revoked ones too; never their secrets."""
        if _over_http(session):
            with session.client() as client:
                answer = client.get("/v1/api-keys")
        else:
            from api.auth import list_keys  # noqa: PLC0415

            with _ledger(session) as ledger:
                answer = {"items": [key.to_dict() for key in list_keys(ledger)]}
        empty = "No keys yet. `ratemill keys create --scope admin` makes one."
        session.show(answer, table(answer["items"], COLUMNS) if answer["items"] else empty)

    @command(keys, "revoke")
    def revoke(
        session: Session, key_id: Annotated[str, typer.Argument(help="The key, from `keys list`.")]
    ) -> None:
        """Revoke a key for good. A running server refuses it at once, or within ten seconds."""
        if _over_http(session):
            with session.client() as client:
                answer = client.delete(f"/v1/api-keys/{key_id}")
        else:
            from api.auth import revoke_key  # noqa: PLC0415
            from ingest.clock import SystemClock  # noqa: PLC0415

            with _ledger(session) as ledger:
                answer = revoke_key(ledger, key_id, now=SystemClock().now()).to_dict()
        session.show(
            answer, f"{answer['key_id']} ({answer['name']}) is revoked since {answer['revoked_at']}."
        )


def _over_http(session: Session) -> bool:
    from api.client import running_server  # noqa: PLC0415

    settings = session.settings
    return bool(settings.server or (settings.key and running_server(settings.data)))


@contextmanager
def _ledger(session: Session) -> Iterator[Engine]:
    """The ledger beside a server that may be running: it takes several processes, the event store one."""
    from ingest.ledger import default_ledger_url, open_ledger  # noqa: PLC0415

    session.say(f"Using the ledger of the folder {session.settings.data}.")
    ledger = open_ledger(session.settings.ledger_url or default_ledger_url(session.settings.data))
    try:
        yield ledger
    finally:
        ledger.dispose()
