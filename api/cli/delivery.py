"""`ratemill deliver`, `ratemill delivery` and `ratemill invoice resend`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.session import Column, Limit, Session, command, group, more, table

DeliveryId = Annotated[str, typer.Argument(help="The delivery's id, from `delivery list`.")]
CustomerId = Annotated[str, typer.Argument(help="The customer.")]
MessageFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The whole message, a file.")]


def _minute(name: str) -> Any:
    return lambda item: (item[name] or "")[:16].replace("T", " ")


COLUMNS: tuple[Column, ...] = (
    ("delivery", "delivery_id"),
    ("customer", "customer_id"),
    ("for", "purpose"),
    ("channel", "channel"),
    ("to", "recipient"),
    ("state", "state"),
    ("due (UTC)", _minute("due_at")),
    ("sent (UTC)", _minute("sent_at")),
    ("why", "reason"),
)
EVENT_COLUMNS: tuple[Column, ...] = (
    ("at (UTC)", lambda event: event["at"][:19].replace("T", " ")),
    ("what", "kind"),
    ("by", "actor"),
    ("", lambda event: _detail(event["detail"])),
)
CHANNEL_COLUMNS: tuple[Column, ...] = (
    ("channel", "channel"),
    ("set up", lambda item: "yes" if item["set_up"] else f"no: {item['missing']}"),
)
STATE_COLUMNS: tuple[Column, ...] = (
    ("channel", "channel"),
    ("state", "state"),
    ("deliveries>", "deliveries"),
)
ITEM_COLUMNS: tuple[Column, ...] = (("item", "item"), ("who", "recipient"), ("state", "state"))


def add_commands(app: typer.Typer) -> None:
    @command(app, "deliver")
    def deliver(session: Session) -> None:
        """Send what is issued and due. Again is safe: nothing is sent twice.

        Leaves with status 1 when something failed; `delivery list --state failed` says why.
        """
        with session.client() as client:
            report = client.post("/v1/delivery/run")
            status = client.get("/v1/delivery/status")
        words = ", ".join(f"{count:,} {state}" for state, count in report["attempts"].items())
        shown = [f"{report['queued']:,} messages queued; attempts: {words or 'none'}."]
        session.show(report, *shown, *_waiting(status))
        if report["attempts"].get("failed") or report["attempts"].get("unknown"):
            raise typer.Exit(1)

    sub = group(app, "delivery", "What is sent to customers, what became of it, what came back.")
    _add_list(sub)
    _add_show(sub)
    _add_status(sub)
    _add_preview(sub)
    _add_again(sub)
    _add_returned(sub)
    _add_customer(sub)


def add_resend(sub: typer.Typer, path: str) -> None:
    """`ratemill invoice resend` and of a credit note. path: under which the documents of this group are."""

    @command(sub, "resend")
    def resend(
        session: Session,
        id_or_number: Annotated[str, typer.Argument(help="Its id or printed number.")],
        to: Annotated[str | None, typer.Option(help="Only to this e-mail address.")] = None,
    ) -> None:
        """Send the very same document once more, at once."""
        body = {"recipient": to} if to else {}
        with session.client() as client:
            answer = client.post(f"{path}/{id_or_number}/resend", body)
        session.show(answer, table(answer["items"], COLUMNS))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        state: Annotated[str | None, typer.Option(help="Like queued, sent, failed, bounced, held.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        invoice: Annotated[str | None, typer.Option(help="Only of this invoice, by id or number.")] = None,
        channel: Annotated[str | None, typer.Option(help="email, webhook, print or network.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Newest first."""
        params = {"state": state, "customer_id": customer, "invoice": invoice, "channel": channel}
        with session.client() as client:
            answer = client.get("/v1/deliveries", {**params, "limit": limit})
        if not answer["items"]:
            session.show(answer, "No deliveries here. `ratemill deliver` sends what is issued and due.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, delivery_id: DeliveryId) -> None:
        """One delivery and all that happened to it."""
        with session.client() as client:
            answer = client.get(f"/v1/deliveries/{delivery_id}")
        session.show(answer, table([answer], COLUMNS), table(answer["events"], EVENT_COLUMNS))


def _add_status(sub: typer.Typer) -> None:
    @command(sub, "status")
    def status(session: Session) -> None:
        """Which channels are set up, and what is due and not delivered.

        Leaves with status 1 when something is late.
        """
        with session.client() as client:
            answer = client.get("/v1/delivery/status")
        shown: list[Any] = [table(answer["channels"], CHANNEL_COLUMNS)]
        if answer["states"]:
            shown.append(table(answer["states"], STATE_COLUMNS))
        shown += _waiting(answer)
        shown += [f"{one['email']} bounced: {one['reason']}" for one in answer["bounced_addresses"]]
        if answer["late"]:
            shown.append(table(answer["late"], COLUMNS, title=f"Late: {answer['late_count']:,}"))
        else:
            shown.append("Nothing is late.")
        session.show(answer, *shown)
        if answer["late"]:
            raise typer.Exit(1)


def _add_preview(sub: typer.Typer) -> None:
    @command(sub, "preview")
    def preview(session: Session, delivery_id: DeliveryId) -> None:
        """The words of a message; an error in wording of your own is named."""
        with session.client() as client:
            answer = client.get(f"/v1/deliveries/{delivery_id}/preview")
        session.show(answer, f"Subject: {answer['subject']}\n", answer["plain"])


def _add_again(sub: typer.Typer) -> None:
    @command(sub, "retry")
    def retry(session: Session, delivery_id: DeliveryId) -> None:
        """Try again what failed, bounced, is held or unknown; the next `deliver` sends it."""
        with session.client() as client:
            answer = client.post(f"/v1/deliveries/{delivery_id}/retry")
        session.show(answer, table([answer], COLUMNS))

    @command(sub, "revoke-link")
    def revoke_link(session: Session, delivery_id: DeliveryId) -> None:
        """Take back the link of a message: it opens nothing any more."""
        with session.client() as client:
            answer = client.post(f"/v1/deliveries/{delivery_id}/revoke-link")
        session.show(answer, f"The link of {delivery_id} opens nothing any more.")


def _add_returned(sub: typer.Typer) -> None:
    @command(sub, "bounce")
    def bounce(session: Session, message: MessageFile) -> None:
        """Mail that came back: mark its address and tell the owner."""
        with session.client() as client:
            answer = client.post_bytes(
                "/v1/delivery/bounces", message.read_bytes(), content_type="message/rfc822"
            )
        session.show(answer, table(answer["items"], COLUMNS))

    @command(sub, "clear")
    def clear(
        session: Session, email: Annotated[str, typer.Argument(help="The address that bounced.")]
    ) -> None:
        """Send to an address again that mail came back from."""
        with session.client() as client:
            answer = client.post("/v1/delivery/bounces/clear", {"email": email})
        session.show(answer, f"{email} is sent to again. `ratemill delivery retry` sends what was not sent.")

    @command(sub, "reply")
    def reply(session: Session, message: MessageFile) -> None:
        """A customer's answer: put on the record of the message it answers."""
        with session.client() as client:
            answer = client.post_bytes(
                "/v1/delivery/replies", message.read_bytes(), content_type="message/rfc822"
            )
        session.show(answer, table([answer], COLUMNS))


def _add_customer(sub: typer.Typer) -> None:
    @command(sub, "onboard")
    def onboard(
        session: Session,
        customer_id: CustomerId,
        send: Annotated[bool, typer.Option("--send", help="Send the message; once an address.")] = False,
    ) -> None:
        """Whether a customer has our address in its address book; --send asks it to add it."""
        path = f"/v1/customers/{customer_id}/onboarding"
        with session.client() as client:
            answer = client.post(path) if send else client.get(path)
        empty = f"{customer_id} has no e-mail address."
        session.show(answer, table(answer["items"], ITEM_COLUMNS) if answer["items"] else empty)

    @command(sub, "webhook-secret")
    def webhook_secret(session: Session, customer_id: CustomerId) -> None:
        """What a customer's webhooks are signed with."""
        with session.client() as client:
            answer = client.get(f"/v1/customers/{customer_id}/webhook-secret")
        session.show(answer, answer["secret"])


def _waiting(status: Mapping[str, Any]) -> list[str]:
    missing = {one["channel"]: one["missing"] for one in status["channels"]}
    return [
        f"{count:,} wait for {channel}, which is not set up: {missing.get(channel, '')}."
        for channel, count in status["waiting"].items()
    ]


def _detail(detail: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value != "")
