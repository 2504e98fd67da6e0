"""What a change of each kind does here. Every step may be done again: the same change once more does nothing.

| kind | data | becomes |
|---|---|---|
| customer | a customer record | the record of this system, merged with those of others |
| product | a catalogue item | a version of it |
| price_list | a price list; ``entries`` of product and price | a version of it |
| promotion | a promotion | a version of it |
| opportunity | an ``Opportunity`` | is kept as it is |
| quote | a quote; ``acceptance``, once the deal is won | a version of it; accepted |
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine

from ingest.document import validate_document
from ingest.errors import InvalidDocument, Issue, NotFound
from invoicing.audit_saved import entered_by
from invoicing.crm.change import CrmChange, CrmKind
from invoicing.crm.opportunity import Opportunity, opportunity_rules
from invoicing.crm.references import with_our_keys
from invoicing.customer_claims import owners_of_external_ids
from invoicing.customer_sync import sync_records
from invoicing.quote_accept import save_accepted_quote
from invoicing.quote_store import get_quote, save_quote
from invoicing.sales.catalogue import PRICE_LISTS, PRODUCTS, PROMOTIONS
from invoicing.saved_document import DocumentKind
from invoicing.settings import Seller

_CATALOGUE: Final[Mapping[CrmKind, DocumentKind[Any]]] = {
    "product": PRODUCTS,
    "price_list": PRICE_LISTS,
    "promotion": PROMOTIONS,
}
_NO_KEY: Final = re.compile(r"[^A-Za-z0-9._:-]+")
_KEY_LENGTH: Final = 110
_HASH_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class Applying:
    """seller: who sends a deposit where there is no billing entity. actor: as in the audit trail."""

    seller: Seller | None
    actor: str
    now: datetime


def apply_change(
    ledger: Engine, system: str, change: CrmChange, *, key: str | None, applying: Applying
) -> str:
    """Do what the change says; returns our key of the object. key: the one that it has already.

    Raises WaitsFor for an object that is named and not there, and what the saves raise: nothing of it is
    saved then.
    """
    with ledger.connect() as connection:
        data = with_our_keys(connection, system, change.data)
    match change.kind:
        case "customer":
            return _customer(ledger, system, change, data, applying)
        case "opportunity":
            validate_document(Opportunity, data, what="the opportunity", rules=opportunity_rules)
            return key or key_of(system, change.external_id)
        case "quote":
            return _quote(ledger, system, change, data, key, applying)
        case kind:
            return _document(ledger, system, _CATALOGUE[kind], change, data, key, applying)


def key_of(system: str, external_id: str) -> str:
    """The key that an object gets when neither it nor anything on record says one: ``crm-4711``. Where signs
    have to give way, a part of a hash keeps two apart."""
    said = f"{system}-{external_id}"
    key = _NO_KEY.sub("-", said)
    if key == said and len(key) <= _KEY_LENGTH and key[0].isalnum():
        return key
    return f"{key.lstrip('-._:')[:_KEY_LENGTH]}-{hashlib.sha256(said.encode()).hexdigest()[:_HASH_LENGTH]}"


def _customer(
    ledger: Engine, system: str, change: CrmChange, data: dict[str, Any], applying: Applying
) -> str:
    with ledger.connect() as connection:
        known = owners_of_external_ids(connection, [(system, change.external_id)])
    if not known and "customer_id" not in data:
        data["customer_id"] = key_of(system, change.external_id)
    _refuse_other_id(data, change)
    record = {**data, "external_id": change.external_id}
    return sync_records(ledger, system, [record], now=applying.now)[0].customer_id


def _document(
    ledger: Engine,
    system: str,
    kind: DocumentKind[Any],
    change: CrmChange,
    data: dict[str, Any],
    key: str | None,
    applying: Applying,
) -> str:
    if "entries" in data and change.kind == "price_list":
        data["prices"] = _beside(data.get("prices"), _prices(data.pop("entries")))
    own = str(data.get(kind.field) or key or key_of(system, change.external_id))
    _refuse_other_key(key, own, kind.field)
    try:
        standing = kind.get(ledger, own).document
    except NotFound:
        pass
    else:
        _refuse_taken(own, standing.external_ids, system, change, said=kind.field in data)
    document = {**data, kind.field: own, "external_ids": _ids(data, {system: change.external_id})}
    entered = entered_by(applying.actor, kind.name, now=applying.now)
    return kind.save(ledger, document, now=applying.now, entered=entered).key


def _quote(
    ledger: Engine,
    system: str,
    change: CrmChange,
    data: dict[str, Any],
    key: str | None,
    applying: Applying,
) -> str:
    acceptance = data.pop("acceptance", None)
    deal = data.pop("opportunity_external_id", None)
    own = str(data.get("quote_id") or key or key_of(system, change.external_id))
    _refuse_other_key(key, own, "quote_id")
    customer_id, contract = data.get("customer_id"), data.get("contract")
    if isinstance(contract, Mapping):
        contract = {"contract_id": own, "customer_id": customer_id, **contract}
    deals = {} if deal is None else {f"{system}.opportunity": str(deal)}
    ids = _ids(data, {system: change.external_id, **deals})
    document = {**data, "quote_id": own, "contract": contract, "external_ids": ids}
    try:
        standing = get_quote(ledger, own, now=applying.now).quote
    except NotFound:
        pass
    else:
        _refuse_taken(own, standing.external_ids, system, change, said="quote_id" in data)
    if acceptance is None:
        save_quote(ledger, document, actor=applying.actor, now=applying.now)
    else:
        save_accepted_quote(
            ledger, document, acceptance, seller=applying.seller, actor=applying.actor, now=applying.now
        )
    return own


def _ids(data: Mapping[str, Any], own: Mapping[str, str]) -> Any:
    return _beside(data.get("external_ids"), own)


def _beside(given: Any, own: Mapping[str, Any]) -> Any:
    """What was sent with ours in it. What is no mapping stays as it is: the document's fields refuse it."""
    if given is None:
        return own
    return {**given, **own} if isinstance(given, Mapping) else given


def _prices(entries: Any) -> dict[str, Any]:
    try:
        found = [(str(entry["product_id"]), entry["price"]) for entry in entries]
    except (KeyError, TypeError):
        raise _bad_entries("An entry has no product or no price.") from None
    prices = dict(found)
    if len(prices) < len(found):
        raise _bad_entries("A product has more than one price.")
    return prices


def _bad_entries(words: str) -> InvalidDocument:
    expected = "product_external_id and price in each, and each product once."
    return InvalidDocument("the price list", [Issue("price_list_entry", "entries", words, expected)])


def _refuse_other_key(key: str | None, own: str, field: str) -> None:
    if key is not None and own != key:
        words = f"The object is {key!r} here, and this says {own!r}."
        raise InvalidDocument("the object", [Issue("crm_key_changed", field, words, "the same, or none.")])


def _refuse_taken(
    own: str, external_ids: Mapping[str, str], system: str, change: CrmChange, *, said: bool
) -> None:
    """What is on record under the key is another object: of this system, or none that this system names."""
    known = external_ids.get(system)
    if known != change.external_id and (known is not None or not said):
        words = f"{own!r} is on record and is {known or 'nothing'} in {system}, not {change.external_id}."
        expected = "a key of its own in the data, or this key to say that both are the same."
        raise InvalidDocument("the object", [Issue("crm_key_taken", "external_id", words, expected)])


def _refuse_other_id(data: Mapping[str, Any], change: CrmChange) -> None:
    if data.get("external_id", change.external_id) != change.external_id:
        words = f"The change is of {change.external_id!r}, its data of {data['external_id']!r}."
        raise InvalidDocument(
            "the customer", [Issue("crm_key_changed", "external_id", words, "the same, or none.")]
        )
