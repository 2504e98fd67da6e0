"""How the drafts of a run are issued, and what is known of their lines beside the lines themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from invoicing.adjusted_line import AdjustedLine
from invoicing.draft import Draft
from invoicing.numbering import NumberPrefixes
from invoicing.recognition import MonthShares
from invoicing.review.open import NeededReview


@dataclass(frozen=True, slots=True)
class IssuePolicy:
    """issue_date None leaves drafts without a number; ``prefixes``: what the others are numbered by.
    contract_versions: the version each contract is billed by, by contract_id. now: when credit is entered as
    drawn. looked_through: the last event or correction whose effect on billed dates was looked at; not for
    contracts without_adjustments. adjusted: what the lines that are adjustments adjust, by line id in hex.
    actor: who bills, as the audit trail names them.
    items: (item_id, version) behind each line of items, by line id in hex. reviews: by invoice id, the drafts
    that stay drafts because people look at them first. month_shares: of lines over several months, by line id
    in hex; those of adjustments stand in ``adjusted``."""

    prefixes: NumberPrefixes
    issue_date: date | None
    run_id: str
    contract_versions: Mapping[str, int]
    now: datetime
    looked_through: int | None
    without_adjustments: Collection[str]
    adjusted: Mapping[str, AdjustedLine]
    actor: str
    items: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    reviews: Mapping[str, NeededReview] = field(default_factory=dict)
    month_shares: Mapping[str, MonthShares] = field(default_factory=dict)

    def shares_of(self, drafts: Sequence[Draft]) -> dict[str, MonthShares]:
        """The month shares of the lines of some drafts, by line id in hex. The drafts as they are written:
        what of an adjustment is of which month depends on what it comes to."""
        if not self.month_shares and not self.adjusted:
            return {}
        found = {}
        for draft in drafts:
            for line_id, amount_minor in zip(draft.line_ids, draft.amounts_minor, strict=True):
                adjusted = self.adjusted.get(line_id)
                months = None if adjusted is None else adjusted.months
                shares = self.month_shares.get(line_id) if months is None else months.shares_of(amount_minor)
                if shares:
                    found[line_id] = shares
        return found
