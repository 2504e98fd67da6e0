"""Tax of many drafts at once: each line's decision, its net amount, and the tax groups of each invoice.

The compiled twin of ``tax_amounts.py``: questions are asked once for all lines that ask the same, amounts are
columns, and only groups (one or few an invoice) are worked on one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.document import decimal_text
from ingest.errors import BrokenState, Issue
from invoicing.hold import Key
from invoicing.invoice_tax import InvoiceTax
from invoicing.tax_amounts import tax_group, tax_in_gross
from invoicing.tax_decision import TaxDecision, TaxQuestion
from invoicing.tax_desk import ContractTax, TaxDesk
from invoicing.tax_rates import CREDIT_TAX_CLASS
from rating.plan_version import PlanVersion
from rating.price_plan import STANDARD_TAX_CLASS, PricePlan
from rating.retainer import sells_credit

_EPOCH: Final = date(1970, 1, 1)
_INT64_MAX: Final = (1 << 63) - 1
_CHARGE_KEY: Final = ["plan_id", "plan_version", "agreement", "charge_id"]
_QUESTION_KEY: Final = ["party", "tax_class", "day"]


@dataclass(frozen=True, slots=True)
class LineQuestions:
    """question: of each line, its place in ``answers``. inclusive: whether its price includes tax. tax_class:
    of each answer. where: a contract and billing date that ask each question."""

    question: NDArray[np.int64]
    inclusive: NDArray[np.bool_]
    answers: tuple[TaxDecision | Issue, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaxedLines:
    """net_minor: of each line. pieces: its member ``tax`` as canonical JSON with a comma behind it.
    priced_minor: as rated where that includes tax, else None; None instead of the list where none does.
    groups: of each invoice, by category and rate."""

    net_minor: NDArray[Any]
    pieces: pl.Series
    priced_minor: list[int | None] | None
    groups: list[tuple[InvoiceTax, ...]]


def ask_of_lines(
    lines: pa.Table,
    *,
    last_days: NDArray[np.int64],
    desk: TaxDesk,
    taxes: Mapping[str, ContractTax],
    plan_versions: Sequence[PlanVersion],
    tax_classes: Mapping[str, str],
) -> LineQuestions:
    """Ask what every line bears. lines: of contracts that ``taxes`` has. last_days: the local day each line's
    service ends with, since 1970. tax_classes: of lines that have one of their own, by line id in hex."""
    parties = list(taxes.values())  # each contract by itself: an answer that was given is known
    by_contract = {key: place for place, key in enumerate(taxes)}
    at_billing = {key for key, tax in taxes.items() if tax.entity.tax_point == "billing_date"}
    contract = pl.Series(lines["contract_id"])
    classes = _classes(lines, plan_versions)
    if tax_classes:
        own = pl.Series(
            "tax_class", [tax_classes.get(line_id.hex()) for line_id in lines["line_id"].to_pylist()]
        )
        classes = classes.with_columns(own.cast(pl.String).fill_null(classes["tax_class"]))
    frame = classes.with_columns(
        party=contract.replace_strict(by_contract, return_dtype=pl.Int64),
        day=pl.when(contract.is_in(sorted(at_billing)))
        .then(pl.Series(lines["billing_date"].cast(pa.int32())).cast(pl.Int64))
        .otherwise(pl.Series(last_days)),
    )
    asked = frame.select(_QUESTION_KEY).unique(maintain_order=True).with_row_index("question")
    numbered = frame.join(asked, on=_QUESTION_KEY, how="left", maintain_order="left")
    answers = tuple(
        _answer(desk, parties[party], tax_class, day)
        for party, tax_class, day in asked.select(_QUESTION_KEY).rows()
    )
    return LineQuestions(
        question=numbered["question"].cast(pl.Int64).to_numpy(),
        inclusive=numbered["inclusive"].to_numpy(),
        answers=answers,
        classes=tuple(asked["tax_class"].to_list()),
    )


def _answer(desk: TaxDesk, tax: ContractTax, tax_class: str, day: int) -> TaxDecision | Issue:
    """Asked once a contract, though its lines are looked at when held and when drafted."""
    key = tax_class, day
    answer = tax.answers.get(key)
    if answer is None:
        question = TaxQuestion(tax.seller, tax.buyer, tax_class, _EPOCH + timedelta(days=day))
        answer = tax.answers[key] = desk.provider.decide(question)
    return answer


def unanswered(lines: pa.Table, asked: LineQuestions) -> list[tuple[Key, Issue]]:
    """The billing dates whose tax is not known, each with the first thing that is missing."""
    wrong = [place for place, answer in enumerate(asked.answers) if isinstance(answer, Issue)]
    if not wrong:
        return []
    places = np.flatnonzero(np.isin(asked.question, wrong))
    rows = lines.select(["contract_id", "billing_date"]).take(pa.array(places)).to_pylist()
    found: dict[Key, Issue] = {}
    for place, row in zip(places.tolist(), rows, strict=True):
        answer = asked.answers[int(asked.question[place])]
        if isinstance(answer, Issue):
            found.setdefault((row["contract_id"], row["billing_date"]), answer)
    return list(found.items())


def tax_lines(lines: pa.Table, starts: NDArray[np.int64], asked: LineQuestions) -> TaxedLines:
    """Net amounts, texts and groups. starts: the first line of each invoice. Raises BrokenState when a
    question has no answer, or net and tax are not what was priced."""
    decisions = [_decided(answer) for answer in asked.answers]
    kinds = list(dict.fromkeys((one.category, one.percent) for one in decisions))
    kind_of = np.array([kinds.index((one.category, one.percent)) for one in decisions], np.int64)
    amounts = lines["amount_minor"].to_numpy()
    invoice = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, lines.num_rows)))
    frame = pl.DataFrame(
        {
            "invoice": invoice,
            "kind": kind_of[asked.question],
            "question": asked.question,
            "inclusive": asked.inclusive,
            "amount": pl.Series(amounts).cast(pl.Int128),
        }
    )
    sums = frame.group_by("invoice", "kind", "inclusive").agg(
        pl.col("amount").sum(), pl.col("question").unique()
    )
    groups = _groups(sums.iter_rows(), decisions, count=len(starts))
    net = _net_amounts(frame, amounts, kinds) if asked.inclusive.any() else amounts
    stated = sum(group.taxable_minor for one in groups for group in one)
    if sum(net.tolist()) != stated:
        raise BrokenState(
            f"net amounts of lines come to {sum(net.tolist())} minor units, taxable amounts to {stated}. "
            "Nothing was written; run billing again and report this if it stays."
        )
    priced = None
    if asked.inclusive.any():
        priced = [
            amount if inside else None
            for amount, inside in zip(amounts.tolist(), asked.inclusive.tolist(), strict=True)
        ]
    return TaxedLines(net, _pieces(asked, decisions, amounts), priced, groups)


def _decided(answer: TaxDecision | Issue) -> TaxDecision:
    if isinstance(answer, Issue):
        raise BrokenState(f"lines without a tax decision were to be drafted: {answer}")
    return answer


def _groups(
    sums: Iterable[tuple[Any, ...]],
    decisions: Sequence[TaxDecision],
    *,
    count: int,
) -> list[tuple[InvoiceTax, ...]]:
    net: dict[tuple[int, int], int] = {}
    gross: dict[tuple[int, int], int] = {}
    asked: dict[tuple[int, int], set[int]] = {}
    for invoice, kind, inclusive, amount, questions in sums:
        key = (invoice, kind)
        (gross if inclusive else net)[key] = int(amount)
        asked.setdefault(key, set()).update(questions)
    found: list[list[InvoiceTax]] = [[] for _ in range(count)]
    for key, questions in sorted(asked.items()):
        decision = joined_reasons([decisions[place] for place in sorted(questions)])
        group = tax_group(decision, net_minor=net.get(key, 0), gross_minor=gross.get(key, 0))
        found[key[0]].append(group)
    return [tuple(sorted(one, key=lambda group: (group.category, group.rate_percent))) for one in found]


def joined_reasons(decisions: Sequence[TaxDecision]) -> TaxDecision:
    """One decision for lines of one category and rate: all their reasons, the code if it is the same."""
    first = decisions[0]
    if len(decisions) == 1:
        return first
    reasons = dict.fromkeys(one.reason for one in sorted(decisions, key=lambda one: one.reason) if one.reason)
    codes = {one.reason_code for one in decisions}
    code = first.reason_code if len(codes) == 1 else ""
    return TaxDecision(first.category, first.percent, " ".join(reasons), code)


def _net_amounts(
    frame: pl.DataFrame, amounts: NDArray[np.int64], kinds: Sequence[tuple[str, Decimal]]
) -> NDArray[Any]:
    """As ``net_parts`` for the inclusive lines of each group; the others as they are."""
    places = np.flatnonzero(frame["inclusive"].to_numpy())
    kind = frame["kind"].to_numpy()[places]
    shares = [Fraction(100) / (100 + Fraction(percent)) for _, percent in kinds]
    largest = max(max(share.numerator, share.denominator) for share in shares)
    own = amounts[places]
    wide = int(np.abs(own).max()) * largest > _INT64_MAX
    own = own.astype(object) if wide else own
    above, below = (
        np.array([getattr(share, name) for share in shares], object if wide else np.int64)[kind]
        for name in ("numerator", "denominator")
    )
    down = own * above // below
    rest = (own * above - down * below).astype(np.int64)
    _, group = np.unique(np.stack([frame["invoice"].to_numpy()[places], kind]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    order = np.lexsort((np.arange(len(places)), -rest, group))
    firsts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0))
    sizes = np.diff(np.append(firsts, len(order)))
    left = np.repeat(
        [
            _left(
                own[order[first : first + size]],
                down[order[first : first + size]],
                kinds,
                int(kind[order[first]]),
            )
            for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True)
        ],
        sizes,
    )
    rank = np.arange(len(order)) - np.repeat(firsts, sizes)
    raised = np.zeros(len(places), np.int64)
    raised[order] = rank < left
    net = amounts.astype(object) if wide else amounts.copy()
    net[places] = down + raised
    return net


def _left(own: NDArray[Any], down: NDArray[Any], kinds: Sequence[tuple[str, Decimal]], kind: int) -> int:
    gross = int(sum(own.tolist()))
    return gross - tax_in_gross(gross, kinds[kind][1]) - int(sum(down.tolist()))


def _pieces(asked: LineQuestions, decisions: Sequence[TaxDecision], amounts: NDArray[np.int64]) -> pl.Series:
    tail_of = {
        (
            percent,
            name,
        ): f',"rate_percent":"{decimal_text(percent)}","tax_class":{orjson.dumps(name).decode()}}},'
        for percent, name in {(one.percent, name) for one, name in zip(decisions, asked.classes, strict=True)}
    }
    heads = [f'"tax":{{"category":"{one.category}","inclusive_minor":' for one in decisions]
    tails = [tail_of[one.percent, name] for one, name in zip(decisions, asked.classes, strict=True)]
    question = pl.Series(asked.question)
    frame = pl.DataFrame(
        {
            "head": pl.Series(heads, dtype=pl.String).gather(question),
            "inside": pl.select(
                pl.when(pl.Series(asked.inclusive))
                .then(pl.Series(amounts).cast(pl.String))
                .otherwise(pl.lit("null"))
            ).to_series(),
            "tail": pl.Series(tails, dtype=pl.String).gather(question),
        }
    )
    return frame.select(pl.concat_str("head", "inside", "tail")).to_series()


def _classes(lines: pa.Table, plan_versions: Sequence[PlanVersion]) -> pl.DataFrame:
    """(tax_class, inclusive) of each line."""
    plans = {(entry.plan.plan_id, entry.version, entry.agreement): entry.plan for entry in plan_versions}
    keys = pl.DataFrame({name: pl.Series(_plain(lines[name])) for name in _CHARGE_KEY})
    distinct = keys.unique(maintain_order=True)
    rows = []
    for plan_id, version, agreement, charge_id in distinct.iter_rows():
        plan = plans.get((plan_id, version, agreement))
        if plan is None:
            raise BrokenState(
                f"a rated line names price plan {plan_id!r} version {version}, which the catalogue does not "
                "have. Restore the catalogue the lines were rated with."
            )
        rows.append((tax_class_of(plan, charge_id), plan.prices_include_tax))
    named = pl.DataFrame(rows, schema={"tax_class": pl.String, "inclusive": pl.Boolean}, orient="row")
    known = pl.concat([distinct, named], how="horizontal")
    return keys.join(known, on=_CHARGE_KEY, how="left", maintain_order="left").select(
        "tax_class", "inclusive"
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def tax_class_of(plan: PricePlan, charge_id: str) -> str:
    """The tax class of a line of the plan. What sells credit has one of its own; a line of the plan itself
    (minimum spend, true-up) that of all its charges when they have one, else the standard one."""
    if sells_credit(charge_id):
        return CREDIT_TAX_CLASS
    for charge in plan.charges:
        if charge.charge_id == charge_id:
            return charge.tax_class
    classes = {charge.tax_class for charge in plan.charges if not sells_credit(charge.charge_id)}
    return classes.pop() if len(classes) == 1 else STANDARD_TAX_CLASS
