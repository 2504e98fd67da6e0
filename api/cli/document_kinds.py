"""The kinds of documents that `ratemill KIND put`, `list` and `show` are for, and how lists show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api.cli.session import Column, moment


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document. ``bulk``: many may be saved in one request, all or none. ``paged``: there may be
    so many that a list is asked for in pages."""

    name: str
    path: str
    key: str
    help: str
    bulk: bool
    columns: tuple[Column, ...]
    paged: bool = True


KINDS: Final = (
    Kind(
        "meter",
        "/v1/meters",
        "meter_id",
        "Meters: what is counted.",
        False,
        (
            ("meter", "meter_id"),
            ("name", "name"),
            ("event type", "event_type"),
            ("aggregation", "aggregation"),
            ("group keys", "group_by"),
            ("unit", "unit"),
        ),
    ),
    Kind(
        "plan",
        "/v1/price-plans",
        "plan_id",
        "Price plans: what it costs.",
        False,
        (
            ("plan", "plan_id"),
            ("version>", "version"),
            ("prices from", "effective_from"),
            ("saved", moment("created_at")),
        ),
        paged=False,
    ),
    Kind(
        "customer",
        "/v1/customers",
        "customer_id",
        "Customers: to whom invoices are addressed.",
        True,
        (
            ("customer", "customer_id"),
            ("name", lambda item: item["document"]["name"]),
            ("country", lambda item: item["document"].get("country")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "calendar",
        "/v1/calendars",
        "calendar_id",
        "Holiday calendars: on which days nobody is invoiced.",
        False,
        (
            ("calendar", "calendar_id"),
            ("name", lambda item: item["document"].get("name")),
            ("holidays>", lambda item: len(item["document"]["holidays"])),
            ("version>", "version"),
        ),
        paged=False,
    ),
    Kind(
        "entity",
        "/v1/billing-entities",
        "entity_id",
        "Billing entities: who sends invoices.",
        False,
        (
            ("entity", "entity_id"),
            ("name", lambda item: item["document"]["legal_name"]),
            ("country", lambda item: item["document"]["country"]),
            ("tax id", lambda item: item["document"].get("tax_id")),
            ("default", lambda item: "yes" if item["document"].get("default") else ""),
            ("version>", "version"),
        ),
        paged=False,
    ),
    Kind(
        "tax-rates",
        "/v1/tax-rates",
        "tax_rates_id",
        "Tax rates: by country, class and day.",
        False,
        (
            ("tax rates", "tax_rates_id"),
            ("rates>", lambda item: len(item["document"]["rates"])),
            ("classes", lambda item: sorted({rate["tax_class"] for rate in item["document"]["rates"]})),
            ("version>", "version"),
        ),
        paged=False,
    ),
    Kind(
        "country-profile",
        "/v1/country-profiles",
        "country",
        "Country profiles: what an invoice must say.",
        False,
        (
            ("country", "country"),
            ("fields>", lambda item: len(item["document"]["required"])),
            ("version>", lambda item: item["version"] or "shipped"),
        ),
        paged=False,
    ),
    Kind(
        "review-rules",
        "/v1/review-rules",
        "rules_id",
        "Review rules: which drafts people look at, and who.",
        False,
        (
            ("rules", "rules_id"),
            ("policy", lambda item: item["document"]["policy"]),
            ("above", lambda item: item["document"]["thresholds"]),
            ("reviewers", lambda item: item["document"]["reviewers"]),
            ("version>", "version"),
        ),
        paged=False,
    ),
    Kind(
        "product",
        "/v1/products",
        "product_id",
        "Catalogue: products, services and bundles of them.",
        False,
        (
            ("product", "product_id"),
            ("name", lambda item: item["document"]["name"]),
            ("kind", lambda item: item["document"]["kind"]),
            ("billed", lambda item: item["document"].get("billed")),
            ("prices", lambda item: item["document"]["prices"]),
            (
                "holds",
                lambda item: {
                    part["product_id"]: part["quantity"] for part in item["document"]["components"]
                },
            ),
            ("version>", "version"),
        ),
    ),
    Kind(
        "price-list",
        "/v1/price-lists",
        "price_list_id",
        "Price lists: prices that hold instead of the catalogue's.",
        False,
        (
            ("price list", "price_list_id"),
            ("name", lambda item: item["document"]["name"]),
            ("prices>", lambda item: len(item["document"]["prices"])),
            ("", lambda item: item["document"]["currency"]),
            ("valid from", lambda item: item["document"].get("valid_from")),
            ("until before", lambda item: item["document"].get("valid_until")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "promotion",
        "/v1/promotions",
        "promotion_id",
        "Promotions: percentages off list prices.",
        False,
        (
            ("promotion", "promotion_id"),
            ("name", lambda item: item["document"]["name"]),
            ("percent off>", lambda item: item["document"]["percent"]),
            ("of", lambda item: item["document"]["product_ids"]),
            ("first periods>", lambda item: item["document"].get("first_periods")),
            ("valid from", lambda item: item["document"].get("valid_from")),
            ("until before", lambda item: item["document"].get("valid_until")),
            ("version>", "version"),
        ),
    ),
    Kind(
        "contract",
        "/v1/contracts",
        "contract_id",
        "Contracts: who is on which plan.",
        True,
        (
            ("contract", "contract_id"),
            ("customer", "customer_id"),
            ("plan", "plan_id"),
            ("from", "start_date"),
            ("until before", "end_date"),
            ("time zone", "time_zone"),
            ("billed", "cadence"),
            ("version>", "version"),
        ),
    ),
)
