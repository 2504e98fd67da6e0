"""Prices the outcomes of a quote when it is saved; the same quote again keeps the prices it has."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, Engine

from ingest.errors import InvalidDocument, Issue
from invoicing.quote import Quote
from invoicing.sales.catalogue import load_sales_catalogue
from invoicing.sales.outcome import Pricing, outcome_issues, priced_outcome, pricing_issues
from rating.catalogue import get_plan_in_force


def priced_quote(
    ledger: Engine, connection: Connection, quote: Quote, *, standing: Quote | None, today: date
) -> Quote:
    """The quote with the parts of its outcomes and the promotions as they are. standing: its newest version;
    the same but for what is worked out here is that one, with its prices.

    Raises InvalidDocument with all that cannot be priced, NotFound without the contract's plan.
    """
    if standing is not None and _as_sent(quote, standing) == _as_sent(standing, standing):
        return standing
    if not quote.outcomes:
        return quote
    plan = get_plan_in_force(ledger, quote.contract.plan_id, on=quote.contract.start_date).plan
    catalogue = load_sales_catalogue(
        connection,
        product_ids=[outcome.product_id for outcome in quote.outcomes],
        price_list_id=quote.price_list_id,
        promotion_ids=quote.promotion_ids,
    )
    pricing = Pricing(
        plan.currency, catalogue, quote.price_list_id, quote.promotion_ids, quote.priced_on or today
    )
    issues = list(pricing_issues(pricing))
    for place, outcome in enumerate(quote.outcomes):
        issues += outcome_issues(outcome, pricing, f"outcomes[{place}]")
    if issues:
        raise InvalidDocument(f"quote {quote.quote_id!r}", issues)
    priced = quote.model_copy(
        update={
            "outcomes": tuple(priced_outcome(outcome, pricing) for outcome in quote.outcomes),
            "promotions": tuple(catalogue.promotions[key] for key in quote.promotion_ids),
            "priced_on": pricing.on,
        }
    )
    _refuse_other_parts(quote, priced)
    return priced


def _as_sent(quote: Quote, standing: Quote) -> Quote:
    """Without what is worked out. A day that is not said is that of the standing version."""
    bare = tuple(outcome.model_copy(update={"parts": ()}) for outcome in quote.outcomes)
    day = quote.priced_on or standing.priced_on
    return quote.model_copy(update={"outcomes": bare, "promotions": (), "priced_on": day})


def _refuse_other_parts(sent: Quote, priced: Quote) -> None:
    issues = [
        Issue(
            "outcome_parts",
            f"outcomes[{place}].parts",
            "They are not what the catalogue comes to.",
            "no parts and no promotions: both are worked out when the quote is saved.",
        )
        for place, (was, becomes) in enumerate(zip(sent.outcomes, priced.outcomes, strict=True))
        if was.parts not in ((), becomes.parts) or sent.promotions not in ((), priced.promotions)
    ]
    if issues:
        raise InvalidDocument(f"quote {sent.quote_id!r}", issues)
