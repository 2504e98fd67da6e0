"""Recognised, billed, collected: three series out of the journal, with what lies between them.

For every period, customer (or contract, product, currency):

    recognised - billed            = change of unbilled - deferred - prepaid credit + suspense
    billed + tax - collected - written off = change of receivable

Both are checked in every row before it is answered. Periods are calendar months of the entry date, or days:
then revenue is spread over the days it was earned on (``revenue_days.py``). The sums come from the copy of
the journal in the event store when that is up to date, else from the ledger; both ways give the same sums,
and a test holds them to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

import pyarrow as pa
from sqlalchemy import Connection, and_, case, func, literal_column, or_, select

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from invoicing.bulk import halves_of, sum_of_halves
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_store import posted_text
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.revenue_days import RevenuePart, day_moves

By = Literal["day", "month"]
Group = Literal["customer", "contract", "product", "currency"]
_KEYS: Final = {"customer": "customer_id", "contract": "contract_id", "product": "charge_id"}
NO_KEY: Final = "''"
WRITE_OFF: Final = "write_off"
PAID_FLOWS: Final = ("tax", "collected", "collected_net", "written_off")
"""Flows of documents and money, which have no product."""
_ACCOUNTS: Final = ("revenue", "unbilled", "deferred", "prepaid_credit", "receivable")
_OUTSIDE: Final = ("credit", *DOCUMENT_KINDS)
"""Kinds of entries whose suspense belongs between recognised and billed; payments of unknown payers do
not."""

REVENUE_SCHEMA: Final = pa.schema(
    [
        ("period", pa.string()),
        ("key", pa.string()),
        ("currency", pa.string()),
        ("recognised_minor", pa.int64()),
        ("billed_minor", pa.int64()),
        ("tax_minor", pa.int64()),
        ("collected_minor", pa.int64()),
        ("collected_net_minor", pa.int64()),
        ("written_off_minor", pa.int64()),
        ("unbilled_minor", pa.int64()),
        ("deferred_minor", pa.int64()),
        ("prepaid_credit_minor", pa.int64()),
        ("suspense_minor", pa.int64()),
        ("receivable_minor", pa.int64()),
    ]
)
"""Of a period: recognised, billed (net of tax and drawn credit), its tax, collected (tax included) and of
it the net part, written off (tax included). At its end, as balances: unbilled, deferred, prepaid credit,
suspense, receivable.
key: of the group, empty for the currency alone. By product, tax, collected, written off and receivable are
null: money pays documents."""


@dataclass(frozen=True, slots=True)
class RevenueQuestion:
    """as_of: entries up to that day; known_at: posted up to that instant, None for all. date_from: the
    first day shown; earlier entries count in the balances. customer_id: only this customer."""

    by: By
    group: Group
    as_of: date
    known_at: datetime | None = None
    date_from: date | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class PostingSum:
    """One sum of postings: of a period, key and currency, an account, a part, and a class of kinds."""

    period: str
    key: str
    currency: str
    account: str
    part: str
    of: str
    amount_minor: int


_BALANCES: Final = ("unbilled", "deferred", "prepaid_credit", "suspense", "receivable")
_CREDIT_SIDE: Final = ("deferred", "prepaid_credit")
"""Balances shown above zero when they are in credit."""


def revenue_report(question: RevenueQuestion, sums: Iterable[PostingSum]) -> pa.Table:
    """The rows, REVENUE_SCHEMA, by currency, key and period; only periods in which something was posted.

    Raises BrokenState when a row does not tie.
    """
    groups: dict[tuple[str, str], dict[str, list[PostingSum]]] = {}
    for each in sums:
        groups.setdefault((each.currency, each.key), {}).setdefault(each.period, []).append(each)
    first = "" if question.date_from is None else period_of(question.date_from, question.by)
    rows = []
    for (currency, key), periods in sorted(groups.items()):
        ends = dict.fromkeys(_BALANCES, 0)
        for period in sorted(periods):
            found = _add_up(periods[period])
            for name in _BALANCES:
                ends[name] += found[name]
            flows = _flows(found, by_product=question.group == "product")
            if period >= first:
                shown = _shown_ends(ends, by_product=question.group == "product")
                rows.append({"period": period, "key": key, "currency": currency, **flows, **shown})
    return pa.Table.from_pylist(rows, schema=REVENUE_SCHEMA)


def period_of(day: date, by: By) -> str:
    """The name of the day's period."""
    return day.isoformat() if by == "day" else day.isoformat()[:7]


def _add_up(sums: Sequence[PostingSum]) -> dict[str, int]:
    """Changes of the balances and of revenue as shown (above zero), and the two sides of receivable."""
    found = dict.fromkeys(
        (*_BALANCES, "revenue", "billed", "tax", "collected", "collected_net", "written_off"), 0
    )
    for each in sums:
        in_credit = each.account == "revenue" or each.account in _CREDIT_SIDE
        found[each.account] += -each.amount_minor if in_credit else each.amount_minor
        if each.account != "receivable":
            continue
        if each.of == "document":
            found["tax" if each.part == "tax" else "billed"] += each.amount_minor
        elif each.of == WRITE_OFF:
            found["written_off"] -= each.amount_minor
        else:
            found["collected"] -= each.amount_minor
            found["collected_net"] -= each.amount_minor if each.part == "net" else 0
    return found


def _flows(found: dict[str, int], *, by_product: bool) -> dict[str, int | None]:
    between = found["unbilled"] - found["deferred"] - found["prepaid_credit"] + found["suspense"]
    if by_product:  # receivable has no product: what a document billed of it is what its other lines come to
        flows = {"recognised_minor": found["revenue"], "billed_minor": found["revenue"] - between}
        return {**flows, **dict.fromkeys(f"{name}_minor" for name in PAID_FLOWS)}
    if found["revenue"] - found["billed"] != between:
        raise BrokenState(
            f"recognised {found['revenue']} less billed {found['billed']} is not what waits between, "
            f"{between}. `ratemill journal verify` says what does not tie."
        )
    settled = found["collected"] + found["written_off"]
    if found["billed"] + found["tax"] - settled != found["receivable"]:
        raise BrokenState(
            f"billed {found['billed']} and tax {found['tax']} less collected {found['collected']} and "
            f"written off {found['written_off']} is not the change of receivable, {found['receivable']}. "
            "`ratemill journal verify` says what does not tie."
        )
    return {
        "recognised_minor": found["revenue"],
        **{f"{name}_minor": found[name] for name in ("billed", *PAID_FLOWS)},
    }


def _shown_ends(ends: dict[str, int], *, by_product: bool) -> dict[str, int | None]:
    shown: dict[str, int | None] = {f"{name}_minor": ends[name] for name in _BALANCES}
    return {**shown, "receivable_minor": None} if by_product else shown


def sums_from_ledger(connection: Connection, question: RevenueQuestion) -> list[PostingSum]:
    """The sums the report is made of, out of the ledger."""
    entries, lines = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
    length = 10 if question.by == "day" else 7
    period = func.substr(entries.entry_date, 1, literal_column(str(length)))
    column = _KEYS.get(question.group)
    key = literal_column(NO_KEY) if column is None else lines[column]
    of = case(
        (entries.kind.in_(_literals(DOCUMENT_KINDS)), literal_column("'document'")),
        (entries.kind == literal_column(f"'{WRITE_OFF}'"), literal_column(f"'{WRITE_OFF}'")),
        else_=literal_column("'other'"),
    )
    columns = (
        period.label("period"),
        key.label("key"),
        lines.currency,
        lines.account,
        lines.part,
        of.label("of"),
    )
    conditions = [
        entries.entry_date <= question.as_of.isoformat(),
        or_(
            lines.account.in_(_ACCOUNTS),
            and_(lines.account == "suspense", entries.kind.in_(_OUTSIDE)),
        ),
    ]
    if question.known_at is not None:
        conditions.append(entries.posted_at <= posted_text(question.known_at))
    if question.customer_id is not None:
        conditions.append(lines.customer_id == question.customer_id)
    if question.group == "product":
        conditions.append(lines.account != "receivable")
    inner = (
        select(*columns, lines.amount_minor)
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(*conditions)
        .subquery()
    )
    keys = [inner.c[name] for name in ("period", "key", "currency", "account", "part", "of")]
    statement = select(*keys, *halves_of(inner.c.amount_minor)).group_by(*keys)
    return [
        _posting_sum(tuple(row)[:6], sum_of_halves(row[6], row[7])) for row in connection.execute(statement)
    ]


def sums_of_days(parts: pa.Table, question: RevenueQuestion) -> list[PostingSum]:
    """What is added to the sums as posted when they are asked by day. parts: PARTS_SCHEMA, of all entries."""
    column = _KEYS.get(question.group)
    found: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for row in parts.to_pylist():
        if question.known_at is not None and row["posted_at"] > question.known_at:
            continue
        if question.customer_id not in (None, row["customer_id"]):
            continue
        key = "" if column is None else row[column]
        days = (row["first_day"], row["last_day"], row["billed_on"])
        for day, account, amount in day_moves(RevenuePart(*days, row["amount_minor"], row["through_minor"])):
            if day <= question.as_of:
                found[day.isoformat(), key, row["currency"], account] += amount
    return [
        PostingSum(day, key, currency, account, "", "other", amount)
        for (day, key, currency, account), amount in found.items()
        if amount
    ]


def _literals(words: Iterable[str]) -> list[Any]:
    return [literal_column(f"'{word}'") for word in words]


def key_column(group: Group) -> str | None:
    """The column of a group's key; None for the currency alone."""
    return _KEYS.get(group)


def quoted_documents() -> str:
    """The kinds of entries that are documents, for SQL."""
    return _quoted(DOCUMENT_KINDS)


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def mirror_conditions(question: RevenueQuestion) -> tuple[str, dict[str, Any]]:
    """Which rows of the copy a question is about, as SQL and its parameters."""
    conditions = [
        "entry_date <= {as_of:Date32}",
        f"(account IN ({_quoted(_ACCOUNTS)}) OR (account = 'suspense' AND kind IN ({_quoted(_OUTSIDE)})))",
    ]
    parameters: dict[str, Any] = {"as_of": question.as_of}
    if question.known_at is not None:
        conditions.append("posted_at <= parseDateTime64BestEffort({known_at:String}, 6, 'UTC')")
        parameters["known_at"] = posted_text(question.known_at)
    if question.customer_id is not None:
        conditions.append("customer_id = {customer_id:String}")
        parameters["customer_id"] = question.customer_id
    if question.group == "product":
        conditions.append("account != 'receivable'")
    return " AND ".join(conditions), parameters


def sums_from_mirror(event_store: EventStore, question: RevenueQuestion) -> list[PostingSum]:
    """The same sums out of the copy in the event store, as far as it goes."""
    period = "toString(entry_date)" if question.by == "day" else "formatDateTime(entry_date, '%Y-%m')"
    where, parameters = mirror_conditions(question)
    found = event_store.query(
        f"SELECT {period} AS period, {key_column(question.group) or NO_KEY} AS key, currency, account, part, "
        f"multiIf(kind IN ({quoted_documents()}), 'document', kind = '{WRITE_OFF}', kind, 'other') AS of, "
        f"toString(sum(toInt128(amount_minor))) AS amount FROM journal_postings WHERE {where} "
        "GROUP BY period, key, currency, account, part, of",
        parameters,
    )
    columns = [[str(value) for value in found[name].to_pylist()] for name in found.column_names]
    return [_posting_sum(row[:6], int(row[6])) for row in zip(*columns, strict=True)]


def _posting_sum(keys: Sequence[str], amount_minor: int) -> PostingSum:
    period, key, currency, account, part, of = keys
    return PostingSum(period, key, currency, account, part, of, amount_minor)
