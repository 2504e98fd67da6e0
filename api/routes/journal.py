"""The journal: its entries, the trial balance on any day as known at any time, its check, and exports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Engine
from starlette.responses import PlainTextResponse, Response

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import Instant, instant
from api.routing import Actor, State, declared
from api.table_answer import TABLE_MEDIA_WITH_PARQUET, table_answer
from invoicing.accrue import recognise_unbilled
from invoicing.journal import ACCOUNTS, Account
from invoicing.journal_check import verify_journal
from invoicing.journal_export import EXPORT_SCHEMA, beancount_text, posting_tables, with_amounts
from invoicing.journal_postings_check import verify_postings
from invoicing.journal_store import JournalFilter, list_entries, trial_balance
from invoicing.number import split_number
from invoicing.open_documents import find_document
from invoicing.posting_store import post_missing

router = APIRouter()

_LINE: Final[dict[str, Any]] = {
    "position": 1,
    "account": "receivable",
    "part": "net",
    "customer_id": "united",
    "contract_id": "united-2013",
    "charge_id": "",
    "currency": "USD",
    "amount_minor": 2500,
}
_ENTRY: Final[dict[str, Any]] = {
    "entry_number": 1,
    "entry_id": "invoice/3f2a9c0d5b7e41c8a6d2f09b1e4c7a85/2013-02-01",
    "kind": "invoice",
    "entry_date": "2013-02-01",
    "posted_at": "2013-02-01T06:00:00.000000+00:00",
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "payment_id": None,
    "description": "",
    "lines": [_LINE, {**_LINE, "position": 2, "account": "unbilled", "part": "", "amount_minor": -2500}],
}
_BALANCE: Final[dict[str, Any]] = {
    "account": "receivable",
    "currency": "USD",
    "debit_minor": 2500,
    "credit_minor": 0,
    "balance_minor": 2500,
    "says": ACCOUNTS["receivable"],
}
_POSTING: Final[dict[str, Any]] = {
    "entry_number": 1,
    "position": 1,
    "entry_date": "2013-02-01",
    "posted_at": "2013-02-01T06:00:00Z",
    "kind": "invoice",
    "account": "receivable",
    "part": "net",
    "customer_id": "united",
    "contract_id": "united-2013",
    "charge_id": "",
    "currency": "USD",
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "payment_id": "",
    "amount_minor": 2500,
    "amount": "25",
}
KnownAt = Annotated[Instant, Query(description="As known at that instant; left out: now.")]
OnDay = Annotated[date | None, Query(description="At the end of that day; left out: today, in UTC.")]


@router.get(
    "/v1/journal/entries",
    **declared(
        "list_journal_entries",
        "read",
        summary="Journal entries",
        tag="journal",
        example={"items": [_ENTRY], "next_cursor": None},
        problems=(404, 422),
    ),
)
def entries(
    state: State,
    document_id: Annotated[str | None, Query(description="Of that document: its id or number.")] = None,
    payment_id: str | None = None,
    customer_id: str | None = None,
    contract_id: str | None = None,
    account: Account | None = None,
    date_from: Annotated[date | None, Query(description="Entry dates from that day on.")] = None,
    on: Annotated[date | None, Query(description="Entry dates up to that day.")] = None,
    known_at: KnownAt = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """In the order of posting, each with all its lines: a debit is above zero, a credit below; they sum to 0.
    `entry_date` is the day of account, `posted_at` when it became known."""
    after = read_cursor(cursor, fields=1)
    chosen = JournalFilter(
        on=on,
        known_at=instant(known_at, "known_at"),
        from_date=date_from,
        customer_id=customer_id,
        contract_id=contract_id,
        document_id=None if document_id is None else _document_id(state.ledger, document_id),
        payment_id=payment_id,
        account=account,
    )
    items = list_entries(
        state.ledger, chosen=chosen, limit=limit + 1, after=0 if after is None else int(after[0])
    )
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["entry_number"],)))


def _document_id(ledger: Engine, id_or_number: str) -> str:
    """A number is looked up; an id may be of an invoice to come, of which something is accrued. Raises
    NotFound for a number that nothing has."""
    if split_number(id_or_number) is None:
        return id_or_number
    with ledger.connect() as connection:
        return find_document(connection, id_or_number)


@router.get(
    "/v1/journal/trial-balance",
    **declared(
        "trial_balance",
        "read",
        summary="The trial balance on a day",
        tag="journal",
        example={"on": "2013-02-28", "known_at": None, "items": [_BALANCE], "sums": {"USD": 0}},
        problems=(422,),
    ),
)
def balance(
    state: State,
    on: OnDay = None,
    known_at: KnownAt = None,
    customer_id: str | None = None,
    contract_id: str | None = None,
) -> ExactJSON:
    """Every account that was used: debits, credits, balance. `sums` are those of all balances by currency: 0,
    unless one contract was asked for."""
    day = on or state.clock.now().astimezone(UTC).date()
    known = instant(known_at, "known_at")
    chosen = JournalFilter(on=day, known_at=known, customer_id=customer_id, contract_id=contract_id)
    rows = trial_balance(state.ledger, chosen=chosen)
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.currency] = sums.get(row.currency, 0) + row.balance_minor
    items = [{**row.to_dict(), "says": ACCOUNTS[row.account]} for row in rows]  # type: ignore[index]
    return ExactJSON({"on": day, "known_at": known, "items": items, "sums": sums})


@router.get(
    "/v1/journal/postings",
    **declared(
        "export_postings",
        "read",
        summary="The journal for accounting systems",
        tag="journal",
        example={"items": [_POSTING]},
        problems=(422,),
        media=TABLE_MEDIA_WITH_PARQUET,
    ),
)
def postings(
    state: State,
    request: Request,
    after: Annotated[int, Query(ge=0, description="Only entries with a number above this.")] = 0,
) -> Response:
    """One row a line, in the order of posting: JSON, CSV, Arrow or Parquet by `Accept`. Nothing of it
    ever changes, so whoever keeps the last `entry_number` asks for what came after it; a row that is
    read twice has the same `entry_number` and `position`."""
    tables = [with_amounts(table) for table in posting_tables(state.ledger, after=after)]
    return table_answer(
        request.headers.get("accept", ""),
        tables=tables,
        schema=EXPORT_SCHEMA,
        row_count=sum(table.num_rows for table in tables),
        summary=dict,
    )


@router.get(
    "/v1/journal/beancount",
    **declared(
        "export_beancount",
        "read",
        summary="The journal as a Beancount ledger",
        tag="journal",
        media={"text/plain": "2013-02-01 open Assets:Receivable\n"},
    ),
)
def beancount(state: State) -> PlainTextResponse:
    """A text that `bean-check` accepts."""
    parts: Iterable[str] = beancount_text(posting_tables(state.ledger))
    return PlainTextResponse("".join(parts))


@router.post(
    "/v1/journal/verify",
    **declared(
        "verify_journal",
        "read",
        summary="Hold the journal to everything on record",
        tag="journal",
        example={
            "ties": True,
            "problems": [],
            "mirror": {
                "through_entry": 2,
                "waiting_entries": 0,
                "ledger_lines": 4,
                "mirror_lines": 4,
                "ledger_debit_minor": 5000,
                "mirror_debit_minor": 5000,
                "ties": True,
            },
        },
    ),
)
def verify(
    state: State,
    documents: Annotated[
        bool, Query(description="Post every document once more on paper and compare; reads them all.")
    ] = False,
) -> ExactJSON:
    """Numbers without gap, entries that sum to zero, receivable, tax and day of documents as the register has
    them, credit at its cost, cash and applied money as the payments have them; and the copy in the event
    store against the ledger. `problems` has a sentence for each thing that does not tie."""
    problems = verify_journal(state.ledger)
    if documents:
        problems += verify_postings(state.ledger)
    state.journal_mirror.catch_up()
    check = state.journal_mirror.check()
    ties = not problems and check.ties
    return ExactJSON({"ties": ties, "problems": problems, "mirror": check.to_dict()})


@router.post(
    "/v1/journal/recognise",
    **declared(
        "recognise_unbilled",
        "bill",
        summary="Recognise what is delivered and not billed",
        tag="journal",
        example={
            "through": "2013-03-31",
            "entries": 1,
            "documents": 1,
            "amounts": [{"currency": "USD", "amount_minor": 2500}],
            "not_accrued": [
                {
                    "contract_id": "delta-2013",
                    "billing_date": "2013-04-15",
                    "reason_code": "unrated_usage",
                    "message": "charge 'landing' has no price for 2.",
                }
            ],
        },
        problems=(409, 422),
    ),
)
def recognise(
    state: State,
    actor: Actor,
    through: Annotated[date, Query(description="The last day of a month that is over.")],
) -> ExactJSON:
    """Debits `unbilled` and credits `revenue` for drafts and open periods, up to the end of that day. Their
    invoices take it back and put their own recognition there. Again: only what has changed. `not_accrued`:
    billing dates that cannot be priced, with the reason."""
    report = recognise_unbilled(
        event_store=state.event_store,
        ledger=state.ledger,
        through=through,
        now=state.clock.now(),
        actor=actor,
    )
    return ExactJSON(report.to_dict())


@router.post(
    "/v1/journal/backfill",
    **declared(
        "backfill_journal",
        "bill",
        summary="Post what is older than the journal",
        tag="journal",
        example={"documents": 0, "credit_entries": 0},
    ),
)
def backfill(state: State) -> ExactJSON:
    """Documents and credit of before there was a journal, as known when they were issued. Again: nothing."""
    done = post_missing(state.ledger)
    return ExactJSON({"documents": done.documents, "credit_entries": done.credit_entries})
