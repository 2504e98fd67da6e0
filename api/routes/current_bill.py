"""The bill of a customer now, for whoever is asked for it: one call, by whatever is known of the customer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.billing import seller_of
from api.json import ExactJSON
from api.routes.contracts import preview_answer
from api.routes.invoices import PDF, PREVIEW_EXAMPLE, printed_pdf
from api.routing import State, declared
from api.state import Ratemill
from ingest.errors import Conflict
from invoicing.current_bill import CurrentBill, current_bill
from invoicing.customer_find import FoundCustomer, find_customer
from invoicing.customer_store import get_customer

router = APIRouter()

_OPEN: Final[dict[str, Any]] = {
    "document_id": "5f1c0d9be27a4c3f8a6b1d20e94c7f35",
    "number": "INV-2013-000001",
    "contract_id": "united-2013",
    "issue_date": "2013-02-01",
    "due_date": "2013-03-03",
    "currency": "USD",
    "open_minor": 125000,
    "overdue_days": 0,
}
_BILL: Final[dict[str, Any]] = {
    "customer_id": "united",
    "name": "United Air Lines",
    "matched_by": "exact",
    "as_of": "2013-01-20T09:00:00Z",
    "bills": [PREVIEW_EXAMPLE],
    "held": [{"contract_id": "united-gate-13", "reason_code": "invoice_held", "message": "..."}],
    "open_documents": [_OPEN],
    "totals": [{"currency": "USD", "bills_minor": 1250, "open_minor": 125000, "total_minor": 126250}],
}
ContractId = Annotated[
    str | None, Query(description="This contract alone; a PDF is of one. Left out: all it has.")
]


@router.get(
    "/v1/current-bill",
    **declared(
        "find_current_bill",
        "current_bill",
        summary="The bill of a customer now, found by name",
        tag="billing",
        example=_BILL,
        problems=(404, 409, 422),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def find_bill(
    state: State,
    request: Request,
    customer: Annotated[
        str,
        Query(description="A key, an external id, a name, an e-mail address, a contact, or a part of one."),
    ],
    contract_id: ContractId = None,
) -> Response:
    """One call, with the scope `current_bill`, which may do nothing else. `bills` are what the next invoices
    come to with all usage so far, priced and discounted by the very function that bills; `open_documents`
    what is issued and not paid. Several customers that fit: 409 `customer_ambiguous`, which names them.
    `Accept: application/pdf` gives the bill as a document."""
    return _answer(state, request, find_customer(state.ledger, customer), contract_id)


@router.get(
    "/v1/customers/{customer_id}/current-bill",
    **declared(
        "current_bill",
        "current_bill",
        sees="customer",
        summary="The bill of a customer now",
        tag="billing",
        example={**_BILL, "matched_by": "customer_id"},
        problems=(404, 409, 422),
        media={PDF: "%PDF-1.7 ..."},
    ),
)
def bill_of(state: State, request: Request, customer_id: str, contract_id: ContractId = None) -> Response:
    """The same for a customer whose key is known, and for the customer itself."""
    found = FoundCustomer(get_customer(state.ledger, customer_id).customer, "customer_id")
    return _answer(state, request, found, contract_id)


def _answer(state: Ratemill, request: Request, found: FoundCustomer, contract_id: str | None) -> Response:
    bill = current_bill(
        found,
        contract_id=contract_id,
        at=state.clock.now(),
        event_store=state.event_store,
        ledger=state.ledger,
        seller=seller_of(state.settings),
    )
    if PDF in request.headers.get("accept", ""):
        return Response(_pdf(state, bill), media_type=PDF)
    return ExactJSON(
        {
            "customer_id": found.customer.customer_id,
            "name": found.customer.name,
            "matched_by": found.matched_by,
            "as_of": bill.as_of,
            "bills": [preview_answer(each) for each in bill.bills],
            "held": [asdict(each) for each in bill.held],
            "open_documents": [{name: getattr(each, name) for name in _OPEN} for each in bill.open_documents],
            "totals": [asdict(each) for each in bill.totals],
        }
    )


def _pdf(state: Ratemill, bill: CurrentBill) -> bytes:
    if len(bill.bills) != 1:
        customer_id = bill.found.customer.customer_id
        named = ", ".join(str(each.contract["contract_id"]) for each in bill.bills) or "none"
        reasons = "".join(f" {each.message}" for each in bill.held)
        raise Conflict(
            f"a document is of one contract, and customer {customer_id!r} has these with a bill now: "
            f"{named}. Ask with contract_id.{reasons}",
            reason_code="one_contract_wanted",
        )
    return printed_pdf(state, bill.bills[0])
