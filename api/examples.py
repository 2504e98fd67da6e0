"""The documents that the API's description shows, one small world that fits together.

A test sends them in the order of the description: they are examples that run.
"""

from __future__ import annotations

from typing import Any, Final

from ingest.document import Document
from ingest.meter import Meter
from invoicing.billing_entity import BillingEntity
from invoicing.country_profile import CountryProfile
from invoicing.credit import CreditGrant
from invoicing.customer import Customer
from invoicing.review.rules import ReviewRules
from invoicing.sales.catalogue import CatalogueItem, PriceList, Promotion
from invoicing.tax_rates import TaxRates
from invoicing.top_up import TopUp
from rating.contract import Contract
from rating.holiday_calendar import HolidayCalendar
from rating.price_plan import PricePlan

METER: Final[dict[str, Any]] = {
    "meter_id": "landings",
    "name": "Landings",
    "event_type": "landing",
    "aggregation": "count",
    "unit": "landing",
}
METER_YAML: Final = """\
meter_id: landings
name: Landings
event_type: landing
aggregation: count
unit: landing
"""
PRICE_PLAN: Final[dict[str, Any]] = {
    "plan_id": "airport-2013",
    "name": "Airport charges 2013",
    "currency": "USD",
    "effective_from": "2013-01-01",
    "charges": [
        {
            "charge_id": "landing",
            "name": "Landing charge",
            "kind": "usage",
            "meter_id": "landings",
            "unit": "landing",
            "price": {
                "model": "graduated",
                "tiers": [{"up_to": "100", "unit_price": "12.50"}, {"unit_price": "9.75"}],
            },
        }
    ],
}
PRICE_PLAN_YAML: Final = """\
plan_id: airport-2013
name: Airport charges 2013
currency: USD
effective_from: 2013-01-01
charges:
  - charge_id: landing
    name: Landing charge
    kind: usage
    meter_id: landings
    unit: landing
    price:
      model: graduated
      tiers:
        - up_to: 100
          unit_price: "12.50"
        - unit_price: "9.75"
"""
CUSTOMER: Final[dict[str, Any]] = {
    "customer_id": "united",
    "name": "United Air Lines",
    "address_lines": ["233 South Wacker Drive", "Chicago, IL 60606"],
    "country": "US",
}
CONTRACT: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "customer_id": "united",
    "plan_id": "airport-2013",
    "subjects": ["UA"],
    "start_date": "2013-01-01",
    "end_date": "2014-01-01",
    "time_zone": "America/New_York",
}
CALENDAR: Final[dict[str, Any]] = {
    "calendar_id": "us-banks",
    "name": "Federal Reserve Bank holidays",
    "weekend": ["saturday", "sunday"],
    "holidays": [{"date": "2013-05-27", "name": "Memorial Day"}, {"date": "2013-07-04"}],
}
BILLING_ENTITY: Final[dict[str, Any]] = {
    "entity_id": "northwind",
    "legal_name": "Northwind Airport Services Inc.",
    "address_lines": ["1 Terminal Road"],
    "postal_code": "11430",
    "city": "Jamaica, NY",
    "country": "US",
    "tax_id": "91-1144442",
    "email": "billing@northwind.example",
    "bank_account": {"holder": "Northwind Airport Services Inc.", "other": "ABA 021000021, account 1234567"},
    "terms_text": {"en": "Please quote the invoice number with your payment."},
    "default": True,
}
TAX_RATES_EXAMPLE: Final[dict[str, Any]] = {
    "tax_rates_id": "US",
    "country": "US",
    "rates": [
        {
            "tax_class": "standard",
            "category": "O",
            "percent": "0",
            "valid_from": "2000-01-01",
            "reason": "No sales tax is stated.",
        }
    ],
    "treatments": [{"category": "G", "reason": "No sales tax is stated: exported."}],
}
COUNTRY_PROFILE: Final[dict[str, Any]] = {
    "country": "US",
    "required": [{"field": "customer.name", "words": "name of the customer"}],
}
CREDIT: Final[dict[str, Any]] = {
    "grant_id": "united-2013",
    "customer_id": "united",
    "name": "Prepaid landings",
    "kind": "paid",
    "currency": "USD",
    "amount": "100.00",
    "cost_basis": "80.00",
    "effective_from": "2013-01-01",
    "expires_on": "2014-01-01",
}
TOP_UP: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "name": "Credit top-up",
    "threshold": "50",
    "amount": "100",
    "price": "80",
    "charge_ids": [],
    "expires_after_days": 365,
    "priority": 100,
    "enabled": True,
}
REVIEW_RULES: Final[dict[str, Any]] = {
    "rules_id": "default",
    "policy": "exception",
    "thresholds": {"USD": "10000"},
    "anomalies": ["new_product", "unusual_quantity", "negative_line", "missing_price", "zero_after_use"],
    "quantity_factor": "3",
    "routes": [{"reviewers": ["airport-lead"], "charge_ids": ["landing"]}],
    "reviewers": ["anna", "ben"],
    "escalate_after_hours": 48,
    "escalate_to": "lead",
    "four_eyes": True,
}
PRODUCT: Final[dict[str, Any]] = {
    "product_id": "jet-bridge",
    "name": "Jet bridge",
    "kind": "product",
    "billed": "recurring",
    "unit": "bridge",
    "prices": {"USD": "1000.00"},
}
PRICE_LIST: Final[dict[str, Any]] = {
    "price_list_id": "partners",
    "name": "Partners",
    "currency": "USD",
    "prices": {"jet-bridge": "900.00"},
}
PROMOTION: Final[dict[str, Any]] = {
    "promotion_id": "spring",
    "name": "Spring",
    "percent": "10",
    "product_ids": ["jet-bridge"],
    "first_periods": 3,
}
SAVED_VERSION: Final[dict[str, Any]] = {"version": 1, "created": True}

DOCUMENT_EXAMPLES: Final[tuple[tuple[dict[str, Any], type[Document]], ...]] = (
    (METER, Meter),
    (PRICE_PLAN, PricePlan),
    (CUSTOMER, Customer),
    (CALENDAR, HolidayCalendar),
    (CONTRACT, Contract),
    (BILLING_ENTITY, BillingEntity),
    (TAX_RATES_EXAMPLE, TaxRates),
    (COUNTRY_PROFILE, CountryProfile),
    (REVIEW_RULES, ReviewRules),
    (CREDIT, CreditGrant),
    (TOP_UP, TopUp),
    (PRODUCT, CatalogueItem),
    (PRICE_LIST, PriceList),
    (PROMOTION, Promotion),
)
"""Which model an example is of: where the description shows one, its schema is the model's own."""

ITEM: Final[dict[str, Any]] = {
    "source_system": "clock",
    "external_id": "4711",
    "source": "timesheet",
    "contract_id": "united-2013",
    "date": "2013-01-20",
    "quantity": "2.5",
    "unit": "hour",
    "description": "Gate training",
    "unit_price": "85",
    "currency": "USD",
}
ITEM_CSV: Final = """\
source_system,external_id,source,contract_id,date,quantity,unit,description,unit_price,currency
clock,4712,timesheet,united-2013,2013-01-21,1.5,hour,Gate training,85,USD
clock,4713,timesheet,united-2013,2013-01-22,1,hour,Gate training,85,USD
"""
ITEM_INVOICE: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "source": "timesheet",
    "invoice_on": "2113-03-15",
}
