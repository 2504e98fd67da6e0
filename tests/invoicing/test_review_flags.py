"""Goal: exactly what is above the threshold or unusual is reviewed, by the right people, and each reason
names its line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingest.document import validate_document
from ingest.errors import InvalidDocument
from invoicing.review.flags import (
    BilledCharge,
    DraftFacts,
    EarlierBill,
    ReviewLine,
    reviewers_of,
    why_review,
)
from invoicing.review.rules import ReviewRules, rules_issues


def rules(**more: Any) -> ReviewRules:
    document = {"rules_id": "default", "reviewers": ["anna"], **more}
    return validate_document(ReviewRules, document, what="the rules", rules=rules_issues)


def line(charge_id: str, amount_minor: int, quantity: str = "1", **more: Any) -> ReviewLine:
    kind = more.pop("kind", "recurring" if charge_id == "fee" else "usage")
    unpriced = more.pop("unpriced", False)
    line_id = more.pop("line_id", f"line-{charge_id}")
    return ReviewLine(line_id, charge_id, kind, "gold", Decimal(quantity), amount_minor, unpriced)


def bill(month: int, charges: Mapping[str, tuple[str, int]], *, issued: bool = True) -> EarlierBill:
    """charges: quantity and minor units by charge."""
    return EarlierBill(
        date(2026, month, 1),
        issued,
        {
            key: BilledCharge("recurring" if key == "fee" else "usage", Decimal(quantity), amount)
            for key, (quantity, amount) in charges.items()
        },
    )


def draft(*lines: ReviewLine, earlier: tuple[EarlierBill, ...] = (), **more: Any) -> DraftFacts:
    total = more.pop("total_minor", sum(each.amount_minor for each in lines))
    return DraftFacts("EUR", total, more.pop("account_owner", ""), lines, earlier)


@pytest.mark.requirement("APP-04")
@pytest.mark.parametrize(
    ("total", "waits"), [("9999.99", False), ("10000.00", False), ("10000.01", True), ("0.00", False)]
)
def test_only_what_is_above_the_threshold_waits(total: str, waits: bool) -> None:
    wanted = rules(thresholds={"EUR": "10000"}, anomalies=[])
    one = line("calls", int(Decimal(total) * 100))
    flags = why_review(wanted, draft(one))
    assert [flag.reason_code for flag in flags] == (["above_threshold"] if waits else [])


def test_a_currency_without_a_threshold_has_none() -> None:
    assert why_review(rules(thresholds={"USD": "1"}, anomalies=[]), draft(line("calls", 10**9))) == ()


FOUR_MONTHS = tuple(
    bill(month, {"calls": (quantity, 100)}) for month, quantity in enumerate(["7", "5", "6", "90"], 1)
)


@pytest.mark.requirement("APP-05")
@pytest.mark.parametrize(
    ("case", "reasons"),
    [
        # the median of 5, 6, 7 and 90 is 6.5, and three times that is 19.5
        (draft(line("calls", 200, "19.5"), earlier=FOUR_MONTHS), []),
        (draft(line("calls", 200, "19.6"), earlier=FOUR_MONTHS), [("unusual_quantity", "line-calls")]),
        (draft(line("calls", 200, "500"), earlier=FOUR_MONTHS[:2]), []),
        (
            draft(
                line("calls", 100, "6", line_id="eu"),
                line("calls", 900, "60", line_id="us"),
                earlier=FOUR_MONTHS,
            ),
            [("unusual_quantity", "us")],
        ),
        (
            draft(line("calls", 90, "6"), line("sms", 1), earlier=FOUR_MONTHS),
            [("new_product", "line-sms")],
        ),
        (draft(line("calls", 90, "6"), line("sms", 1)), []),
        (draft(line("calls", 90, "6"), earlier=(bill(1, {"fee": ("1", 30)}),)), []),
        (
            draft(line("calls", 90, "6"), line("fee", -5, kind="fee_credit"), earlier=FOUR_MONTHS),
            [("negative_line", "line-fee")],
        ),
        (
            draft(line("calls", 0, "6", unpriced=True), earlier=FOUR_MONTHS),
            [("missing_price", "line-calls")],
        ),
        (draft(line("calls", 0, "0"), earlier=FOUR_MONTHS), [("zero_after_use", "line-calls")]),
        (
            draft(line("fee", 30), earlier=(bill(1, {"fee": ("1", 30), "calls": ("5", 9)}),)),
            [("zero_after_use", "")],
        ),
        (draft(line("calls", 0, "0"), earlier=(bill(1, {"calls": ("0", 5)}),)), []),
    ],
)
def test_each_anomaly_trips_on_its_case_and_names_the_line(
    case: DraftFacts, reasons: list[tuple[str, str]]
) -> None:
    flags = why_review(rules(), case)
    assert [(flag.reason_code, flag.line_id) for flag in flags] == reasons
    assert all(flag.charge_id in flag.message for flag in flags)
    silent = rules(anomalies=[])
    assert why_review(silent, case) == ()


@pytest.mark.requirement("APP-06")
def test_an_invoice_like_the_last_one_is_not_reviewed() -> None:
    wanted = rules(thresholds={"EUR": "100"})
    last = bill(1, {"fee": ("1", 5_000_000)})
    again = line("fee", 5_000_000)
    assert why_review(wanted, draft(again, earlier=(last,))) == ()
    for other in (
        draft(again),  # the first one
        draft(again, earlier=(bill(1, {"fee": ("1", 5_000_000)}, issued=False),)),  # nobody let that one go
        draft(line("fee", 5_000_001), earlier=(last,)),
        draft(again, line("consulting", 0, kind="item"), earlier=(last,)),
    ):
        assert "above_threshold" in [flag.reason_code for flag in why_review(wanted, other)]
    assert why_review(rules(policy="all"), draft(again, earlier=(last,)))[0].reason_code == "policy_all"
    assert why_review(rules(policy="none", thresholds={"EUR": "0"}), draft(again)) == ()


ROUTES = [
    {"reviewers": ["product-manager"], "charge_ids": ["calls", "sms"]},
    {"reviewers": ["berta", "lead"], "account_owners": ["berta"]},
    {"reviewers": ["lead", "cfo"], "above": {"EUR": "50000"}},
]


@pytest.mark.requirement("APP-02")
@pytest.mark.parametrize(
    ("charge", "owner", "total", "reviewers"),
    [
        ("fee", "", "1", ["anna"]),
        ("sms", "", "1", ["product-manager"]),
        ("fee", "berta", "1", ["berta", "lead"]),
        ("fee", "", "50000", ["anna"]),
        ("fee", "", "50000.01", ["lead", "cfo"]),
        ("calls", "berta", "60000", ["product-manager", "berta", "lead", "cfo"]),
    ],
)
def test_routes_give_the_reviewers_in_their_order(
    charge: str, owner: str, total: str, reviewers: list[str]
) -> None:
    case = draft(line(charge, int(Decimal(total) * 100)), account_owner=owner)
    assert list(reviewers_of(rules(routes=ROUTES), case)) == reviewers


@pytest.mark.parametrize(
    ("document", "reason_code"),
    [
        ({"reviewers": []}, "no_reviewer"),
        ({"escalate_after_hours": 24}, "escalation_incomplete"),
        ({"escalate_to": "lead"}, "escalation_incomplete"),
        ({"quantity_factor": "1"}, "quantity_factor"),
        ({"trailing_dates": 2}, "trailing_dates"),
        ({"thresholds": {"EUR": "-1"}}, "review_amount"),
        ({"thresholds": {"XXX": "1"}}, "unknown_currency"),
    ],
)
def test_rules_that_cannot_work_are_refused(document: dict[str, Any], reason_code: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        rules(**document)
    assert [issue.reason_code for issue in refused.value.issues] == [reason_code]
