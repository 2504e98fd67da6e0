"""What a billing run, a preview or a top-up knows of tax: who sends, what is asked, whose answer counts.

While no billing entity is saved there is no desk, and invoices state no tax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from sqlalchemy import Connection, Engine

from ingest.errors import Conflict, Issue
from invoicing.billing_entity import BillingEntity, load_entities, seller_document
from invoicing.country_profile import (
    ANY_TREATMENT,
    COUNTRY_PROFILES,
    RequiredField,
    missing_fields,
    required_fields,
)
from invoicing.invoice import Invoice
from invoicing.invoice_tax import InvoiceLineTax
from invoicing.saved_document import StoredDocument
from invoicing.tables import contract_of
from invoicing.tax_amounts import tax_group
from invoicing.tax_decision import (
    SavedRates,
    TaxBuyer,
    TaxDecision,
    TaxProvider,
    TaxQuestion,
    TaxSeller,
)
from invoicing.tax_rates import CREDIT_TAX_CLASS, TAX_RATES
from rating.contract_entity_store import load_contract_entities


@dataclass(frozen=True, slots=True)
class ContractTax:
    """Who sends a contract's invoices to whom. seller_text: the snapshot as canonical JSON. open_fields: what
    the seller's country may ask for and neither it nor the customer has. answers: those known, by tax class
    and day since 1970."""

    entity: BillingEntity
    seller_text: str
    seller: TaxSeller
    buyer: TaxBuyer
    open_fields: tuple[RequiredField, ...] = ()
    answers: dict[tuple[str, int], TaxDecision | Issue] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class TaxDesk:
    """entities: in force, by id. named: the entity a contract names, by contract_id. required: what the
    countries ask for, by entity id; open_fields: what of it the entity itself does not have. answers: those
    the provider gave already."""

    entities: Mapping[str, StoredDocument[BillingEntity]]
    sellers: Mapping[str, tuple[str, TaxSeller]]
    named: Mapping[str, str]
    required: Mapping[str, tuple[RequiredField, ...]]
    provider: TaxProvider
    answers: dict[TaxQuestion, TaxDecision | Issue] = field(default_factory=dict)
    open_fields: Mapping[str, tuple[RequiredField, ...]] = field(init=False)

    def __post_init__(self) -> None:
        open_fields = {}
        for entity_id, fields in self.required.items():
            seller = {"seller": orjson.loads(self.sellers[entity_id][0])} if fields else {}
            open_fields[entity_id] = tuple(missing_fields(fields, seller, ANY_TREATMENT))
        object.__setattr__(self, "open_fields", open_fields)

    def decide(self, question: TaxQuestion) -> TaxDecision | Issue:
        """The provider's answer; the same question is asked once."""
        found = self.answers.get(question)
        if found is None:
            found = self.answers[question] = self.provider.decide(question)
        return found

    def contract_tax(self, contract_id: str, customer: Mapping[str, Any]) -> ContractTax | Issue:
        """Who sends the invoices of a contract, or why that is not clear. customer: the document in force."""
        entity_id = self.named.get(contract_id) or self.entity_id_for(customer)
        if entity_id is None:
            return Issue(
                "billing_entity_unclear",
                f"contracts.{contract_id}.billing_entity",
                f"{len(self.entities)} billing entities are on record and none is the default.",
                "billing_entity in the contract or the customer, or default: true in one entity.",
            )
        stored = self.entities.get(entity_id)
        if stored is None:
            return Issue(
                "billing_entity_unknown",
                f"contracts.{contract_id}.billing_entity",
                f"billing entity {entity_id!r} is not on record.",
                f"one of {', '.join(sorted(self.entities))}, or this one saved by `ratemill entity put`.",
            )
        text, seller = self.sellers[entity_id]
        wanted = self.open_fields.get(entity_id, ())
        missing = missing_fields(wanted, {"customer": customer}, ANY_TREATMENT) if wanted else ()
        return ContractTax(stored.document, text, seller, tax_buyer(customer), tuple(missing))

    def entity_id_for(self, customer: Mapping[str, Any]) -> str | None:
        """Who sends invoices to a customer whose contract does not say; None when that is not clear."""
        named = customer.get("billing_entity")
        return sender_by_default(self.entities) if named is None else str(named)


def sender_by_default(entities: Mapping[str, StoredDocument[BillingEntity]]) -> str | None:
    """Who sends where neither contract nor customer say; None when that is not clear."""
    if len(entities) == 1:
        return next(iter(entities))
    chosen = [key for key, stored in entities.items() if stored.document.default]
    return chosen[0] if len(chosen) == 1 else None


def load_tax_desk(
    connection: Connection, *, provider: TaxProvider | None, contract_ids: Sequence[str] | None = None
) -> TaxDesk | None:
    """The desk as of now; None while no billing entity is saved. provider: who answers instead of the tax
    rates on record. contract_ids: those that are asked about; None: any."""
    entities = load_entities(connection)
    if not entities:
        return None
    rates = {key: stored.document for key, stored in TAX_RATES.load(connection).items()}
    profiles = {key: stored.document for key, stored in COUNTRY_PROFILES.load(connection).items()}
    return TaxDesk(
        entities=entities,
        sellers={
            key: (_seller_text(stored), tax_seller(stored.document)) for key, stored in entities.items()
        },
        named=load_contract_entities(connection, contract_ids),
        required={
            key: required_fields(stored.document.country, profiles) for key, stored in entities.items()
        },
        provider=SavedRates(rates) if provider is None else provider,
    )


def open_tax_desk(
    ledger: Engine, *, provider: TaxProvider | None, contract_ids: Sequence[str] | None = None
) -> TaxDesk | None:
    """As ``load_tax_desk``, with a connection of its own."""
    with ledger.connect() as connection:
        return load_tax_desk(connection, provider=provider, contract_ids=contract_ids)


def tax_seller(entity: BillingEntity) -> TaxSeller:
    """What of an entity decides."""
    no_tax = entity.no_tax
    return TaxSeller(
        country=entity.country,
        region=entity.region,
        tax_id=entity.tax_id,
        oss=entity.oss,
        no_tax_reason="" if no_tax is None else no_tax.reason,
        no_tax_code="" if no_tax is None else no_tax.reason_code,
    )


def tax_buyer(customer: Mapping[str, Any]) -> TaxBuyer:
    """What of a customer document decides."""
    return TaxBuyer(
        customer_id=str(customer["customer_id"]),
        country=customer.get("country", ""),
        tax_id=customer.get("tax_id", ""),
        status=customer.get("tax_status", ""),
        exempt_reason=customer.get("tax_exempt_reason", ""),
        exempt_code=customer.get("tax_exempt_code", ""),
    )


def contract_taxes(
    desk: TaxDesk | None,
    contracts: Iterable[Mapping[str, Any]],
    customers: Mapping[str, tuple[int, str]],
) -> tuple[dict[str, ContractTax], dict[str, Issue]]:
    """Who sends to whom by contract_id, and by contract_id why that is not clear. Contracts of unknown
    customers are in neither."""
    taxes: dict[str, ContractTax] = {}
    issues: dict[str, Issue] = {}
    alike: dict[tuple[str | None, str], ContractTax] = {}
    for contract in contracts if desk is not None else ():
        owner, customer_id = contract["contract_id"], contract["customer_id"]
        known = customers.get(customer_id)
        if desk is None or known is None:
            continue
        key = desk.named.get(contract_of(owner)), customer_id
        found = alike.get(key) or desk.contract_tax(contract_of(owner), orjson.loads(known[1]))
        if isinstance(found, Issue):
            issues[owner] = found
        else:
            taxes[owner] = alike[key] = found
    return taxes, issues


def with_credit_tax(desk: TaxDesk | None, invoice: Invoice) -> Invoice:
    """An invoice whose one line sells credit, with the tax of that. Raises Conflict with what is missing."""
    if desk is None:
        return invoice
    contract_id = str(invoice.contract["contract_id"])
    tax = desk.contract_tax(contract_id, invoice.customer)
    if isinstance(tax, ContractTax):
        question = TaxQuestion(tax.seller, tax.buyer, CREDIT_TAX_CLASS, invoice.billing_date)
        answer = desk.decide(question)
    else:
        answer = tax
    if isinstance(answer, Issue):
        raise Conflict(f"{answer.message} Expected: {answer.expected}", reason_code=answer.reason_code)
    taxed = InvoiceLineTax(answer.category, answer.percent, CREDIT_TAX_CLASS, None)
    return replace(
        invoice,
        lines=tuple(replace(line, tax=taxed) for line in invoice.lines),
        tax=(tax_group(answer, net_minor=invoice.total_minor, gross_minor=0),),
    )


def _seller_text(stored: StoredDocument[BillingEntity]) -> str:
    return orjson.dumps(seller_document(stored), option=orjson.OPT_SORT_KEYS).decode()
