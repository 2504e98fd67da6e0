"""`ratemill review`: drafts that wait for people: look at them, approve, send back, correct, release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.invoice_view import money
from api.cli.session import Column, Limit, Session, command, group, moment, more, table

Invoice = Annotated[str, typer.Argument(help="The invoice's id, from `list`.")]
As = Annotated[
    str | None,
    typer.Option("--as", help="The reviewer it is done for. Left out: the name of the API key."),
]


def _total(item: Mapping[str, Any]) -> str:
    from rating.money import minor_digits  # noqa: PLC0415

    return f"{money(item['total_minor'], minor_digits(item['currency']))} {item['currency']}"


COLUMNS: tuple[Column, ...] = (
    ("invoice", "invoice_id"),
    ("customer", "customer_id"),
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("net>", _total),
    ("state", lambda item: item["state"].replace("_", " ")),
    ("with", "reviewer"),
    ("hours>", "waiting_hours"),
    ("why", lambda item: [flag["reason_code"] for flag in item["flags"]]),
)
AGE_COLUMNS: tuple[Column, ...] = (
    ("reviewer", "reviewer"),
    ("waiting>", "waiting"),
    ("up to 24 hours>", "up_to_24_hours"),
    ("up to 72 hours>", "up_to_72_hours"),
    ("longer>", "over_72_hours"),
)
FLAG_COLUMNS: tuple[Column, ...] = (("why", "reason_code"), ("line id", "line_id"), ("", "message"))
RELEASED_COLUMNS: tuple[Column, ...] = (("issued", "number"), ("invoice", "invoice_id"))
REFUSED_COLUMNS: tuple[Column, ...] = (
    ("not issued", "invoice_id"),
    ("reason", "reason_code"),
    ("what to do", "message"),
)


def add_commands(app: typer.Typer) -> None:
    reviews = group(app, "review", "Reviews: drafts that people look at before they are issued.")
    _add_list(reviews)
    _add_show(reviews)
    _add_decisions(reviews)
    _add_release(reviews)


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        mine: Annotated[str | None, typer.Option(help="Only those that wait for this reviewer.")] = None,
        state: Annotated[str | None, typer.Option(help="in_review, returned or approved.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Those that wait longest first, and how many wait for whom."""
        with session.client() as client:
            answer = client.get("/v1/reviews", {"reviewer": mine, "state": state, "limit": limit})
        if not answer["items"]:
            words = "No draft waits here. `ratemill review-rules put FILE` says which ones people look at."
            session.show(answer, words)
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        ages = [table(answer["ageing"], AGE_COLUMNS, title="Waiting")] if answer["ageing"] else []
        session.show(answer, table(answer["items"], COLUMNS), *ages, *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, invoice: Invoice) -> None:
        """Why it waits, for whom, and who comes next. `ratemill invoice show` has the draft itself."""
        with session.client() as client:
            answer = client.get(f"/v1/reviews/{invoice}")
        session.show(answer, *_shown(answer))


def _add_decisions(sub: typer.Typer) -> None:
    def post(session: Session, invoice: str, action: str, **body: str | None) -> None:
        given = {name: value for name, value in body.items() if value is not None}
        with session.client() as client:
            answer = client.post(f"/v1/reviews/{invoice}/{action}", given)
        session.show(answer, *_shown(answer))

    @command(sub, "approve")
    def approve(
        session: Session,
        invoice: Invoice,
        reviewer: As = None,
        reason: Annotated[str | None, typer.Option(help="What there is to say.")] = None,
    ) -> None:
        """Hand it to the next reviewer; the last one approves it."""
        post(session, invoice, "approve", reviewer=reviewer, reason=reason)

    @command(sub, "back")
    def back(
        session: Session,
        invoice: Invoice,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
        reviewer: As = None,
    ) -> None:
        """Send it back to the reviewer before; from the first it is returned to whoever bills."""
        post(session, invoice, "send-back", reviewer=reviewer, reason=reason)

    @command(sub, "delegate")
    def delegate(
        session: Session,
        invoice: Invoice,
        to: Annotated[str, typer.Option(help="Who reviews it instead.")],
        reviewer: As = None,
        reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    ) -> None:
        """Let somebody else review it."""
        post(session, invoice, "delegate", reviewer=reviewer, to=to, reason=reason)

    @command(sub, "escalate")
    def escalate(
        session: Session,
        invoice: Invoice,
        reason: Annotated[str, typer.Option(help="Why.")],
        reviewer: As = None,
    ) -> None:
        """Hand it at once to whom the rules escalate."""
        post(session, invoice, "escalate", reviewer=reviewer, reason=reason)

    @command(sub, "correct")
    def correct(
        session: Session,
        invoice: Invoice,
        line: Annotated[str, typer.Option(help="The line's id, from `ratemill invoice show`.")],
        amount: Annotated[str, typer.Option(help="What it is to come to, like 12.50.")],
        reason: Annotated[str, typer.Option(help="Why; it is printed on the invoice.")],
        reviewer: As = None,
    ) -> None:
        """Correct a line of the draft. A line beside it says the difference; what was approved is reviewed
        again."""
        post(session, invoice, "corrections", reviewer=reviewer, line_id=line, amount=amount, reason=reason)

    @command(sub, "submit")
    def submit(
        session: Session,
        invoice: Invoice,
        reason: Annotated[str, typer.Option(help="Why it is right now.")],
        reviewer: As = None,
    ) -> None:
        """Bring a returned one before its reviewers again."""
        post(session, invoice, "submit", reviewer=reviewer, reason=reason)


def _add_release(sub: typer.Typer) -> None:
    @command(sub, "release")
    def release(session: Session) -> None:
        """Issue all that is approved. Leaves with status 1 when one could not be issued."""
        with session.client() as client:
            answer = client.post("/v1/reviews/release")
        shown: list[Any] = [table(answer["issued"], RELEASED_COLUMNS)] if answer["issued"] else []
        if answer["refused"]:
            shown.append(table(answer["refused"], REFUSED_COLUMNS))
        session.show(answer, *(shown or ["No draft is approved and waits to be issued."]))
        if answer["refused"]:
            raise typer.Exit(1)


def _shown(review: Mapping[str, Any]) -> list[Any]:
    state = review["state"].replace("_", " ") if review["invoice_state"] == "draft" else "issued"
    head = f"Invoice {review['invoice_id']} of {review['contract_id']}, {_total(review)} net: {state}"
    if review["corrections"]:
        head += f", corrections: {review['corrections']}"
    head += f", with {review['reviewer']}" if review["reviewer"] else ""
    names = ", ".join(review["reviewers"])
    since = moment("waiting_since")(review)
    made = f"Reviewers: {names}. Since {since}; drafted or corrected by {', '.join(review['prepared_by'])}."
    return [head, made, table(review["flags"], FLAG_COLUMNS)]
