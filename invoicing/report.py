"""What a billing run answers: every due date accounted for, every amount added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ingest.errors import BrokenState
from invoicing.hold import Held
from rating.money import format_minor


@dataclass(frozen=True, slots=True)
class BillingReport:
    """``due`` = ``invoiced`` + ``nothing_due`` + held. ``already_settled``: billing dates up to
    ``as_of`` that earlier runs were done with. Totals are minor units by currency.

    invoiced_before, totals_before_minor: what the run had invoiced when it was taken up again, because it was
    interrupted or asked for once more by its id; the counts above are of what it did since, and ``of_run`` in
    the answer is all of it.
    manifest_hash: SHA-256 over the hashes of every invoice billed as of this date, by whichever
    run: the same inputs give the same value. stage_seconds: in the order the stages began; chunks are issued
    while others are drafted, so their sum may be more than ``seconds``, which is what this run took by the
    wall clock, of a run that was taken up again since then. credit_expired: ids of the grants that lapsed,
    credit_waiting: of those that would and wait for a bill. item_invoices: how many invoices for items were
    written beside those of the billing dates. in_review: of ``invoiced``, those that stay drafts because
    people look at them first; item_invoices_in_review: of ``item_invoices``. late: of ``due``, those that
    should have been invoiced before ``as_of``; days_late_max: by how many days at most.
    """

    run_id: str
    as_of: date
    due: int
    invoiced: int
    issued: int
    nothing_due: int
    already_settled: int
    lines: int
    totals_minor: Mapping[str, int]
    held: tuple[Held, ...]
    manifest_hash: str
    stage_seconds: Mapping[str, float]
    seconds: float
    invoiced_before: int = 0
    totals_before_minor: Mapping[str, int] = field(default_factory=dict)
    credit_expired: tuple[str, ...] = ()
    credit_waiting: tuple[str, ...] = ()
    item_invoices: int = 0
    item_invoices_held: tuple[Held, ...] = ()
    item_conflicts: int = 0
    in_review: int = 0
    item_invoices_in_review: int = 0
    late: int = 0
    days_late_max: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; amounts as minor units and as text, seconds as text."""
        return {
            "run_id": self.run_id,
            "as_of": self.as_of.isoformat(),
            "due": self.due,
            "late": self.late,
            "days_late_max": self.days_late_max,
            "invoiced": self.invoiced,
            "issued": self.issued,
            "in_review": self.in_review,
            "nothing_due": self.nothing_due,
            "held": len(self.held),
            "held_by_reason": dict(sorted(Counter(entry.reason_code for entry in self.held).items())),
            "held_dates": [entry.to_dict() for entry in self.held],
            "already_settled": self.already_settled,
            "lines": self.lines,
            "totals_minor": dict(self.totals_minor),
            "totals": {
                currency: format_minor(total, currency) for currency, total in self.totals_minor.items()
            },
            "of_run": self.of_run(),
            "manifest_hash": self.manifest_hash,
            "credit_expired": list(self.credit_expired),
            "credit_waiting": list(self.credit_waiting),
            "item_invoices": self.item_invoices,
            "item_invoices_in_review": self.item_invoices_in_review,
            "human_touches": self.human_touches(),
            "item_invoices_held": [entry.to_dict() for entry in self.item_invoices_held],
            "stage_seconds": {name: f"{seconds:.3f}" for name, seconds in self.stage_seconds.items()},
            "seconds": f"{self.seconds:.3f}",
            "invoices_per_second": f"{self.invoices_per_second():.1f}",
            "summary": self.summary(),
        }

    def invoices_per_second(self) -> float:
        """What this run wrote, those for items too, in the time it took."""
        return (self.invoiced + self.item_invoices) / self.seconds if self.seconds > 0 else 0.0

    def human_touches(self) -> dict[str, Any]:
        """What waits for a person: one touch a held contract, by the first reason (what comes after it is
        settled with it), one an invoice for items, one an invoice to review, and one a body of an item that
        contradicts another."""
        first = {entry.contract_id: entry.reason_code for entry in reversed(self.held)}
        reasons = Counter([*first.values(), *(entry.reason_code for entry in self.item_invoices_held)])
        in_review = self.in_review + self.item_invoices_in_review
        return {
            "total": reasons.total() + self.item_conflicts + in_review,
            "held_by_reason": dict(sorted(reasons.items())),
            "item_conflicts": self.item_conflicts,
            "in_review": in_review,
        }

    def of_run(self) -> dict[str, Any]:
        """All that the run invoiced, however often it was taken up."""
        whole = Counter(self.totals_before_minor)
        whole.update(self.totals_minor)
        return {
            "invoiced": self.invoiced_before + self.invoiced,
            "totals_minor": dict(sorted(whole.items())),
            "totals": {code: format_minor(total, code) for code, total in sorted(whole.items())},
        }

    def summary(self) -> str:
        """A sentence or two for people."""
        beside = (
            f" Invoices for items beside them: {self.item_invoices} written, "
            f"{len(self.item_invoices_held)} held."
            if self.item_invoices or self.item_invoices_held
            else ""
        )
        waiting = self.in_review + self.item_invoices_in_review
        review = f" {waiting} of them wait for a review (`ratemill review list`)." if waiting else ""
        return self._dates_summary() + self._taken_up() + beside + review

    def _taken_up(self) -> str:
        if not self.invoiced_before:
            return ""
        whole = self.of_run()
        amounts = ", ".join(f"{total} {code}" for code, total in whole["totals"].items())
        return (
            f" Run {self.run_id} had written {self.invoiced_before} invoices before it was taken up again, "
            f"and {whole['invoiced']} in all ({amounts} net)."
        )

    def _dates_summary(self) -> str:
        if not self.due and not self.already_settled:
            return f"0 billing dates due as of {self.as_of}: no contract has one up to that day."
        if not self.due:
            return (
                f"0 billing dates due as of {self.as_of}; {self.already_settled} are settled already and are "
                "never billed twice."
            )
        amounts = ", ".join(
            f"{format_minor(total, code)} {code}" for code, total in self.totals_minor.items()
        )
        words = f"{self.due} billing dates due as of {self.as_of}: {self.invoiced} invoiced"
        words += f" ({amounts} net)" if amounts else ""
        words += f", {self.nothing_due} with nothing to bill, {len(self.held)} held"
        words += f"; {self.late} of them late, by up to {self.days_late_max} days" if self.late else ""
        return f"{words}; {self.already_settled} were settled already."


def check_accounted_for(report: BillingReport) -> None:
    """Raises BrokenState when a due date is in none, or in two, of the outcomes."""
    accounted = report.invoiced + report.nothing_due + len(report.held)
    if accounted != report.due:
        raise BrokenState(
            f"run {report.run_id} found {report.due} billing dates due and accounts for {accounted}. What is "
            "written is right; run billing again for the rest and report this."
        )
