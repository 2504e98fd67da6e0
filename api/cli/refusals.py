"""`ratemill events refused`, `repair` and `dismiss`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli.session import Column, Limit, Session, command, more, table

if TYPE_CHECKING:
    from api.client import RatemillClient

REFUSED_COLUMNS: tuple[Column, ...] = (
    ("refused record", "refusal_id"),
    ("outcome", "outcome"),
    ("reason", "reason_code"),
    ("field", "field"),
    ("what is wrong", "message"),
    ("expected", "expected"),
    ("state", "state"),
)
REPLAYED_COLUMNS: tuple[Column, ...] = (
    ("line>", "line"),
    ("refused record", "refusal_id"),
    ("reason", "reason_code"),
    ("what is wrong", "message"),
    ("expected", "expected"),
)


def add_commands(events: typer.Typer) -> None:
    """Add the commands of refused records to `ratemill events`."""
    _add_refused(events)
    _add_repair(events)
    _add_dismiss(events)


def _add_refused(events: typer.Typer) -> None:
    @command(events, "refused")
    def list_refused(
        session: Session,
        batch: Annotated[str | None, typer.Option(help="Only of this batch.")] = None,
        reason: Annotated[str | None, typer.Option(help="Only with this reason code.")] = None,
        state: Annotated[
            Literal["open", "repaired", "dismissed"] | None, typer.Option(help="Only those in this state.")
        ] = None,
        out: Annotated[
            Path | None, typer.Option(help="Write the records into this file, to be mended for `repair`.")
        ] = None,
        limit: Limit = 20,
    ) -> None:
        """Records that were refused, latest first, with the reason and what became of them."""
        params = {"batch_id": batch, "reason_code": reason, "state": state, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/events/refused", params)
        items = answer["items"]
        shown: list[Any] = [table(items, REFUSED_COLUMNS) if items else "Nothing was refused."]
        if answer["next_cursor"]:
            shown.append(more(limit))
        if out is not None:
            out.write_text("".join(f"{_mendable(item)}\n" for item in items), encoding="utf-8")
            shown.append(
                f"{len(items)} records are in {out}. Mend `record`, then `ratemill events repair {out}`."
            )
        session.show(answer, *shown)


def _mendable(item: dict[str, Any]) -> str:
    """One line for `repair`: the record as it was sent if it is a JSON object, digits and all, else to be
    written anew. The reason stands beside it, so it is read and left out by `repair`."""
    try:
        whole = isinstance(json.loads(item["record"]), dict)
    except ValueError:
        whole = False
    record = " ".join(item["record"].splitlines()) if whole else json.dumps({"as_sent": item["record"]})
    why = json.dumps({name: item[name] for name in ("refusal_id", "reason_code", "message", "expected")})
    return f'{why[:-1]}, "record": {record}}}'


def _add_repair(events: typer.Typer) -> None:
    @command(events, "repair")
    def repair(
        session: Session,
        file: Annotated[
            Path,
            typer.Argument(exists=True, dir_okay=False, help="What `events refused --out` wrote, mended."),
        ],
    ) -> None:
        """Send refused records again. Leaves with status 1 when any was refused once more."""
        with session.client() as client:
            answer = _replay(client, file)
        counted = [f"{answer[name]:,} {name.replace('_', ' ')}" for name in _OUTCOMES]
        shown: list[Any] = [f"Refused records: {', '.join(counted)}."]
        refused = [item for item in answer["items"] if item["outcome"] == "refused"]
        if refused:
            shown.append(table(refused, REPLAYED_COLUMNS, title="Refused once more"))
        session.show(answer, *shown)
        if refused:
            raise typer.Exit(1)


_OUTCOMES = ("repaired", "already_repaired", "refused")


def _replay(client: RatemillClient, file: Path) -> Any:
    return client.post_bytes(
        "/v1/events/refused/replay", file.read_bytes(), content_type="application/x-ndjson"
    )


def _add_dismiss(events: typer.Typer) -> None:
    @command(events, "dismiss")
    def dismiss(
        session: Session,
        refusal_ids: Annotated[list[str], typer.Argument(help="From `events refused`.")],
        reason: Annotated[str, typer.Option(help="Why nothing will come of them.")],
    ) -> None:
        """Say that nothing will come of refused records, and why. They stay readable."""
        with session.client() as client:
            answer = client.post("/v1/events/refused/dismiss", {"refusal_ids": refusal_ids, "reason": reason})
        session.show(answer, f"{answer['dismissed']:,} dismissed.")
