"""Goal: the description of the API is whole and true: its examples run, its answers look as it says."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from standardwebhooks import Webhook

from api.app import create_app
from api.routing import schema_of
from api.state import Ratemill
from ingest.ledger import ledger_transaction
from invoicing.billable_item import item_id_of
from invoicing.crm.adapter import crm_secret
from invoicing.delivery.find import get_delivery
from invoicing.delivery.tables import DELIVERIES, stamp
from tests.api.conftest import NOW
from tests.invoicing.einvoice_case import priced, put_issued, put_special, taxed

DELIVERY_ID = "5f1c0d9be27a4c3f8a6b1d20e94c7f35"
"""Of the examples: in their place stands that of a delivery that is there."""

# In the order in which a newcomer would call them.
STORY = (
    "health metrics get_schema create_api_key list_api_keys revoke_api_key",
    "put_meter list_meters get_meter",
    "put_price_plan list_price_plans get_price_plan list_price_plan_versions",
    "put_customer put_customers list_customers get_customer",
    "put_customer_record sync_customer_records get_customer_record put_customer_sources get_customer_sources",
    "list_customer_conflicts list_customer_records",
    "put_calendar list_calendars get_calendar",
    "put_contract put_contracts list_contracts get_contract list_contract_versions list_billing_dates",
    "send_events list_events list_refused_events list_unmatched_events",
    "send_corrections list_corrections event_history replay_refused_events dismiss_refused_events",
    "make_backfill list_backfills undo_backfill",
    "send_compatible_events send_lago_events send_meter_event",
    "list_openmeter_events list_openmeter_meters get_openmeter_meter query_openmeter_meter",
    "post_openmeter_query",
    "query_usage contract_usage price preview_contract rollup_status refresh_rollups verify_rollups",
    "report_completeness report_provisioned report_quantities check_entitlement list_entitlement_checks",
    "contract_entitlements customer_now find_current_bill current_bill",
    "start_billing_run get_billing_run list_billing_runs grant_credit list_credits what_if rerate",
    "list_invoices get_invoice print_invoices get_invoice_pdf issue_invoice list_audit_entries verify_books",
    "run_delivery delivery_status resend_invoice list_deliveries get_delivery preview_delivery",
    "view_document view_document_pdf confirm_document revoke_delivery_link take_reply take_bounce",
    "retry_delivery clear_bounce send_onboarding get_onboarding get_webhook_secret",
    "preview_credit_note issue_credit_note list_credit_notes get_credit_note get_credit_note_pdf",
    "resend_credit_note",
    "put_template list_templates get_template use_template preview_template",
    "put_product list_products get_product put_price_list list_price_lists get_price_list",
    "put_promotion list_promotions get_promotion",
    "put_quote list_quotes get_quote get_quote_pdf get_quote_link view_quote view_quote_pdf",
    "accept_quote_on_page accept_quote report_sold_ordered",
    "crm_webhook send_crm_changes list_crm_objects list_crm_conflicts retry_crm_objects get_crm_secret",
    "preview_special_invoice issue_special_invoice list_special_invoices get_special_invoice",
    "get_special_invoice_pdf resend_special_invoice agree_instalments get_instalments",
    "list_documents index_documents write_off get_write_offs take_back_write_off",
    "import_items list_items get_item amend_item list_item_conflicts list_demand close_items cancel_items",
    "plan_item_invoices list_item_invoices get_item_invoice cancel_item_invoice",
    "explain_line list_events_of_line",
    "export_invoice_lines record_payment list_payments get_payment unapply_payment allocate_payment",
    "pay_out list_pay_outs get_pay_out set_off return_payment import_payments assign_payment",
    "put_payment_settings",
    "get_payment_settings",
    "list_journal_entries trial_balance export_postings export_beancount verify_journal backfill_journal",
    "recognise_unbilled",
    "report_revenue report_outstanding report_payers report_late_billing change_billing_structure",
    "get_invoice_ubl get_invoice_cii get_invoice_template check_einvoice",
    "get_credit_note_ubl get_credit_note_cii check_credit_note",
    "get_special_invoice_ubl get_special_invoice_cii check_special_invoice",
    "get_credit credit_balance retainer_statement put_top_up get_top_up void_credit",
    "forget_customer_record",
    "put_review_rules list_review_rules get_review_rules list_reviews get_review send_invoice_back",
    "correct_invoice submit_invoice approve_invoice delegate_review escalate_review release_invoices",
    "archive_events list_archives restore_events",
    "archive_year list_retention",
    "put_tax_rates load_example_tax_rates list_tax_rates get_tax_rates put_billing_entity",
    "list_billing_entities get_billing_entity put_entity_logo get_entity_logo",
    "put_country_profile list_country_profiles get_country_profile",
    "tick",
    "delete_customer delete_billing_entity",
)
ORDER = " ".join(STORY).split()
NAMED_BY: dict[str, tuple[str | int, ...]] = {
    "plan_item_invoices": ("item_invoice_id", "items", 0, "item_invoice_id"),
    "create_api_key": ("key_id", "key_id"),
    "start_billing_run": ("run_id", "run_id"),
    "list_invoices": ("id_or_number", "items", 0, "invoice_id"),
    "issue_credit_note": ("id_or_number", "credit_note_id"),
    "get_quote": ("document_hash", "document_hash"),
    "issue_special_invoice": ("id_or_number", "document_id"),
    "take_bounce": ("delivery_id", "items", 0, "delivery_id"),
    "get_invoice": ("line_id", "lines", 0, "line_id"),
}
"""Which key of later paths an answer gives, and where it stands in it."""
QUERY = {
    "make_backfill": {
        "type": "landing",
        "subject": "UA",
        "time_from": "2013-01-01T00:00:00Z",
        "time_to": "2013-01-02T00:00:00Z",
        "reason": "distances were wrong, ticket 4711",
        "id": "ticket-4711",
    },
    "query_usage": {"meter_id": "landings"},
    "report_provisioned": {
        "provisioned_meter_id": "landings",
        "consumed_meter_id": "landings",
        "time_from": "2013-01-01T00:00:00Z",
        "time_to": "2013-02-01T00:00:00Z",
        "time_zone": "UTC",
    },
    "report_quantities": {"time_from": "2013-01-01T05:00:00Z", "time_to": "2013-02-01T05:00:00Z"},
    "report_completeness": {"time_from": "2013-01-01T00:00:00Z", "time_to": "2013-02-01T00:00:00Z"},
    "event_history": {"source": "tower/jfk", "id": "2013-01-01-UA1545"},
    "query_openmeter_meter": {"from": "2013-01-01T00:00:00Z", "to": "2013-02-01T00:00:00Z"},
    "find_current_bill": {"customer": "united air lines"},
    "contract_usage": {"at": "2013-01-15T00:00:00Z"},
    "preview_contract": {"at": "2013-01-15T00:00:00Z"},
    "list_invoices": {"totals": "true"},
    "recognise_unbilled": {"through": "2013-03-31"},
    "delete_customer": {"reason": "saved twice"},
    "delete_billing_entity": {"reason": "saved twice"},
    "check_entitlement": {"meter_id": "landings", "subject": "UA", "quantity": "1"},
}

MISTAKEN = {"legal_name": "Mistaken GmbH", "country": "DE"}


class World:
    """The example world: sends each operation's own examples and keeps the keys it hears of."""

    def __init__(self, http: httpx.Client, state: Ratemill) -> None:
        self.http = http
        self.state = state
        self.folder = state.settings.data / "archive"
        self.keys = {
            "kind": "meter",
            "rules_id": "default",
            "template_id": "northwind",
            "backfill_id": "ticket-4711",
            "meter_id": "landings",
            "plan_id": "airport-2013",
            "customer_id": "united",
            "calendar_id": "us-banks",
            "entity_id": "northwind",
            "tax_rates_id": "US",
            "country": "US",
            "contract_id": "united-2013",
            "grant_id": "united-2013",
            "item_id": item_id_of("clock", "4711"),
            "payment_id": "bank-4711",
            "pay_out_id": "refund-1",
            "quote_id": "gate-13",
            "product_id": "jet-bridge",
            "price_list_id": "partners",
            "promotion_id": "spring",
            "system": "crm",
            "external_id": "4711",
        }

    def send(self, method: str, path: str, operation: dict[str, Any]) -> list[httpx.Response]:
        address = path.format(**self.keys)
        query = QUERY.get(operation["operationId"], {})
        bodies = operation.get("requestBody", {}).get("content", {"": {"example": None}})
        answers = []
        for media_type, described in bodies.items():
            example = described["example"]
            if isinstance(example, str):
                example = example.replace(DELIVERY_ID, self.keys.get("delivery_id", ""))
            if operation["operationId"] == "correct_invoice":
                example = {**example, "line_id": self.keys["line_id"]}
            if isinstance(example, dict) and "folder" in example:
                example = {**example, "folder": str(self.folder)}
            if operation["operationId"] == "accept_quote_on_page":
                example = re.sub("[0-9a-f]{64}", self.keys["document_hash"], example)
            if operation["operationId"] == "set_off":
                both = {name: self.keys[name] for name in ("document", "against")}
                example = {**example, **both, "value_date": "2025-06-01"}
            if operation["operationId"] == "accept_quote":
                example = {**example, "document_hash": self.keys["document_hash"]}
            content = example if isinstance(example, str) or example is None else json.dumps(example)
            headers = {"Content-Type": media_type} if media_type else {}
            if operation["operationId"] == "crm_webhook":
                headers |= signed(str(content), secret="a secret of tests, long enough")
            answers.append(self.http.request(method, address, params=query, content=content, headers=headers))
        self.listen(operation["operationId"], answers[0])
        return answers

    def listen(self, operation_id: str, answer: httpx.Response) -> None:
        named = NAMED_BY.get(operation_id)
        if named is not None:
            found = answer.json()
            for step in named[1:]:
                found = found[step]
            self.keys[str(named[0])] = found
        prepare = {
            "get_quote_link": self.open_link,
            "resend_invoice": self.deliver_first,
            "get_review_rules": self.leave_in_review,
            "release_invoices": self.review_none,
            "get_invoice_pdf": self.leave_a_draft,
            "check_einvoice": self.credit,
            "check_credit_note": self.issue_special,
            "report_outstanding": self.issue_taxed,
            "get_pay_out": self.leave_below_zero,
            "import_payments": self.unknown_payer,
            "tick": self.save_by_mistake,
        }.get(operation_id)
        if prepare is not None:
            prepare(answer)

    def open_link(self, answer: httpx.Response) -> None:
        self.keys["quote_token"] = answer.json()["url"].rpartition("/")[2]

    def deliver_first(self, answer: httpx.Response) -> None:
        self.deliver(answer.json()["items"][0]["delivery_id"])

    def unknown_payer(self, _answer: httpx.Response) -> None:
        """A payment that nobody sent."""
        paid = {"amount": "25.00", "currency": "USD", "value_date": "2013-03-01"}
        self.keys["payment_id"] = self.http.post("/v1/payments", json=paid).json()["payment_id"]

    def save_by_mistake(self, _answer: httpx.Response) -> None:
        """A customer and an entity that nothing refers to."""
        for path, key in (("/v1/customers", "customer_id"), ("/v1/billing-entities", "entity_id")):
            self.http.put(f"{path}/mistake", json={"name": "M"} if key == "customer_id" else MISTAKEN)
            self.keys[key] = "mistake"

    def review_none(self, _answer: httpx.Response) -> None:
        self.http.put("/v1/review-rules/default", json={"policy": "none"})

    def leave_a_draft(self, _answer: httpx.Response) -> None:
        """The next one issues a draft, so there must be one."""
        self.http.post("/v1/billing-runs", json={"as_of": "2013-03-01", "issue": False})
        drafts = self.http.get("/v1/invoices", params={"state": "draft"}).json()["items"]
        self.keys["id_or_number"] = drafts[0]["invoice_id"] if drafts else "none"

    def credit(self, _answer: httpx.Response) -> None:
        wanted = {"reason": "counted twice"}
        made = self.http.post(f"/v1/invoices/{self.keys['id_or_number']}/credit-notes", json=wanted)
        self.keys["id_or_number"] = made.json()["credit_note_id"]

    def issue_taxed(self, _answer: httpx.Response) -> None:
        """What follows wants an invoice that states its tax."""
        self.keys["id_or_number"] = put_issued(self.state.ledger, taxed(priced("1", "1"))).invoice_id

    def leave_below_zero(self, _answer: httpx.Response) -> None:
        """A bill that owes the customer something, and an invoice it can be set off against."""
        for name, price, day in (("document", "-5", date(2025, 4, 1)), ("against", "7", date(2025, 5, 1))):
            one = taxed(priced(price, "1"), invoice_id=f"{day:%m}" * 16, billing_date=day)
            self.keys[name] = str(put_issued(self.state.ledger, one).number)

    def issue_special(self, _answer: httpx.Response) -> None:
        """A miscellaneous invoice that states its tax."""
        self.keys["id_or_number"] = put_special(self.state.ledger, taxed(priced("2", "1")))

    def leave_in_review(self, _answer: httpx.Response) -> None:
        """Some draft that waits for anna and then ben."""
        rules = {"policy": "all", "reviewers": ["anna", "ben"], "escalate_after_hours": 48}
        rules |= {"escalate_to": "lead"}
        self.http.put("/v1/review-rules/default", json=rules)
        self.http.post("/v1/billing-runs", json={"as_of": "2013-04-01", "issue": False})
        invoice_id = self.http.get("/v1/reviews").json()["items"][0]["invoice_id"]
        invoice = self.http.get(f"/v1/invoices/{invoice_id}").json()
        self.keys |= {"invoice_id": invoice_id, "line_id": invoice["lines"][0]["line_id"]}

    def deliver(self, delivery_id: str) -> None:
        """As if the mail server had taken it: in this world nobody listens."""
        delivery = get_delivery(self.state.ledger, delivery_id)
        links = self.state.delivery.links
        assert links is not None
        with ledger_transaction(self.state.ledger) as connection:
            changed = DELIVERIES.update().where(DELIVERIES.c.delivery_id == delivery_id)
            connection.execute(changed.values(state="sent", sent_at=stamp(self.state.clock.now())))
        self.keys["delivery_id"] = delivery_id
        self.keys["token"] = links.url(delivery).rpartition("/")[2]


def signed(body: str, *, secret: str) -> dict[str, str]:
    """The headers of a webhook of the CRM of the examples."""
    signature = Webhook(crm_secret(secret, "crm")).sign("msg_1", NOW, body)
    stamp = str(int(NOW.timestamp()))
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


def no_float(text: str) -> None:
    raise AssertionError(f"the answer holds the binary float {text}")


def described_operations(state: Ratemill) -> dict[str, tuple[str, str, dict[str, Any]]]:
    paths = create_app(state).openapi()["paths"]
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_every_example_runs_and_every_answer_is_as_described(state: Ratemill, http: httpx.Client) -> None:
    operations = described_operations(state)
    assert sorted(operations) == sorted(ORDER)
    components = create_app(state).openapi()["components"]
    world = World(http, state)
    # March 2013 has an event too, so that the draft of the issue example has something to bill.
    event = {"source": "t", "id": "feb", "type": "landing", "subject": "UA", "time": "2013-02-10T00:00:00Z"}
    http.post("/v1/events", json=event)
    http.post("/v1/events", json={**event, "id": "mar", "time": "2013-03-10T00:00:00Z"})
    for operation_id in ORDER:
        method, path, operation = operations[operation_id]
        for answer in world.send(method, path, operation):
            good = [status for status in operation["responses"] if status < "300"]
            assert answer.status_code in {200, *map(int, good)}, (operation_id, answer.text)
            status = str(answer.status_code)
            content = operation["responses"][status if status in good else good[0]].get("content", {})
            if not content:
                assert answer.content == b"", operation_id
                continue
            described = content.get("application/json")
            if described is None or "json" not in answer.headers["content-type"]:
                assert answer.headers["content-type"].split(";")[0] in content, operation_id
                continue
            document = json.loads(answer.text, parse_float=no_float)
            jsonschema.validate(document, {"components": components, **described["schema"]})
            if isinstance(document, dict):
                missing = described["example"].keys() - document.keys()
                assert not missing, (operation_id, missing)


def test_every_operation_has_a_summary_a_tag_and_its_problems(state: Ratemill) -> None:
    for operation_id, (_, _, operation) in described_operations(state).items():
        assert operation["summary"], operation_id
        assert operation["description"], operation_id
        assert len(operation["tags"]) == 1, operation_id
        if operation.get("x-scope"):
            assert {"401", "403"} <= operation["responses"].keys(), operation_id
            assert operation["security"] == [{"key": []}], operation_id


def test_the_tags_are_described(state: Ratemill) -> None:
    described = create_app(state).openapi()
    used = {tag for _, _, operation in described_operations(state).values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in described["tags"]}


def test_an_example_with_a_binary_float_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        schema_of({"price": 0.1})


def test_the_description_needs_no_network(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json()["info"]["title"] == "Ratemill"
    assert http.get("/docs").status_code == 404
