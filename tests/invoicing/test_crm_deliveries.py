"""Goal: deliveries of a CRM do no harm whenever they come: broken off, at the same time, overtaking each
other, as files, or with what cannot be kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from ingest.errors import Forbidden, InvalidDocument, InvalidInput, UnreadableBody
from invoicing.audit_verify import verify_books
from invoicing.crm import inbox
from invoicing.crm.adapter import StandardAdapter, crm_secret, find_adapter
from invoicing.crm.apply import apply_change, key_of
from invoicing.crm.change import CSV, NDJSON, check_changes, read_changes
from invoicing.crm.inbox import list_objects, take_changes
from invoicing.customer_store import get_customer
from invoicing.quote_store import get_quote
from invoicing.sales.catalogue import PRODUCTS
from tests.invoicing.crm_case import (
    APPLYING,
    CRM,
    NOW,
    PLAIN_OFFER,
    SECRET,
    STORY,
    in_force,
    outcomes,
    tell,
    with_plan,
)
from tests.invoicing.fake_crms import CRMS, FakeCrm, HubAdapter


@pytest.fixture
def books(ledger: Engine) -> Engine:
    return with_plan(ledger)


@pytest.mark.requirement("CRM-01")
def test_a_name_that_is_null_names_nothing(books: Engine) -> None:
    crm = CRMS[0]  # the other dialect has no null
    tell(books, crm, *STORY[:4])
    nulls = {"price_list_external_id": None, "opportunity_external_id": None, "external_ids": None}
    [taken] = tell(books, crm, ("quote", "q-9", STORY[7][2], {**PLAIN_OFFER, **nulls}))
    assert (taken.outcome, taken.issues) == ("applied", ())
    assert get_quote(books, "crm-q-9", now=NOW).quote.price_list_id is None


def test_what_cannot_be_kept_as_it_is_is_not_taken(books: Engine) -> None:
    """A NaN would come back as null, half a surrogate pair and a long number not at all."""
    for value in (float("nan"), "\ud800", 10**30, {1: "x"}):
        change = {"kind": "opportunity", "external_id": "1", "changed_at": "2026-05-01T08:00:00Z"}
        with pytest.raises(InvalidDocument):
            check_changes([{**change, "data": {"name": "Safe data", "note": value}}])


def test_a_signature_of_a_day_that_no_calendar_has_is_refused() -> None:
    for stamp in ("999999999999", "9" * 12, "1" * 13, "-5", ""):
        headers = {"webhook-id": "1", "webhook-timestamp": stamp, "webhook-signature": "v1,x"}
        with pytest.raises(Forbidden):
            StandardAdapter().verify(headers, b"{}", secret=crm_secret(SECRET, "crm"), now=NOW)


@CRM
def test_what_a_kill_left_undone_is_done_by_the_next_delivery(
    crm: FakeCrm, books: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "apply_change", die)
        with pytest.raises(KeyboardInterrupt):
            tell(books, crm, *STORY[:3])
    states = list_objects(books, system=None, kind=None, state="received", limit=10)
    assert len(states) == 3
    tell(books, crm, STORY[3])
    left = list_objects(books, system=None, kind=None, state="received", limit=10)
    assert left == []


@pytest.mark.requirement("CRM-01")
def test_deliveries_at_the_same_time_do_no_harm(any_ledger: Engine) -> None:
    ledger = with_plan(any_ledger)
    with ThreadPoolExecutor(4) as pool:
        for told in [pool.submit(tell, ledger, CRMS[place % 2], *STORY) for place in range(4)]:
            told.result()
    found = in_force(ledger)
    assert {state for _, _, state, _, _ in found["objects"]} == {"applied"}
    assert (found["customer"].name, found["quote"][0]) == ("Acme GmbH", "accepted")
    assert verify_books(ledger).broken == ()


@pytest.mark.parametrize("any_ledger", ["postgresql"], indirect=True)
def test_more_deliveries_at_once_than_connections_do_not_stand_still(any_ledger: Engine) -> None:
    """Those that wait hold no connection that the one at work needs."""
    few = create_engine(any_ledger.url, pool_size=2, max_overflow=0, pool_timeout=5)
    with ThreadPoolExecutor(4) as pool:
        for told in [pool.submit(tell, few, CRMS[0], *STORY[:2]) for _ in range(4)]:
            told.result()
    few.dispose()
    assert get_customer(any_ledger, "crm-001-7").customer.name == "Acme"


def test_a_later_change_that_overtakes_one_at_work_is_what_stays(
    books: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, apply = CRMS[0], apply_change
    newer = ("customer", "001-7", "2026-05-01T09:00:00+00:00", {"name": "Acme GmbH"})
    met: list[str] = []

    def slow(*arguments: Any, **named: Any) -> str:
        if not met:
            met.append("once")
            tell(books, crm, newer)
        return apply(*arguments, **named)

    monkeypatch.setattr(inbox, "apply_change", slow)
    tell(books, crm, STORY[0])
    assert get_customer(books, "crm-001-7").customer.name == "Acme GmbH"


def test_files_say_the_same(books: Engine) -> None:
    ndjson = (
        b'{"external_id": "p-1", "changed_at": "2026-05-01T08:00:00Z", '
        b'"data": {"name": "Storage", "kind": "product", "billed": "once", "prices": {"EUR": 10.50}}}\n'
    )
    rows = (
        b"kind,external_id,changed_at,name,data.kind,billed,prices.EUR\n"
        b"product,p-1,2026-05-01T08:00:00Z,Storage,product,once,10.50\n"
    )
    for body, media_type, kind in ((ndjson, NDJSON, "product"), (rows, CSV, None)):
        changes = check_changes(read_changes(body, media_type=media_type, kind=kind))
        assert outcomes(take_changes(books, media_type[-3:], changes, applying=APPLYING)) == ["applied"]
    first, second = (PRODUCTS.get(books, key).document for key in ("son-p-1", "csv-p-1"))
    assert first.prices == second.prices
    for broken in (b"no", b"[1]", b"a: 1", b'{"a": 1, "a": 2}', b'{"a": ' + b"[" * 100_000):
        with pytest.raises(UnreadableBody, match="line 1"):
            read_changes(broken, media_type=NDJSON, kind=None)
    for heading in ("name,data.name", "prices,prices.EUR", "prices.EUR,data.prices.EUR"):
        with pytest.raises(UnreadableBody, match="same field"):
            read_changes(f"{heading}\na,b\n".encode(), media_type=CSV, kind=None)
    with pytest.raises(InvalidInput):
        check_changes([])


def test_keys_are_told_apart_and_adapters_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of("crm", "4711") == "crm-4711"
    assert key_of("crm", "a b") != key_of("crm", "a-b")
    assert key_of("crm", "x" * 200) != key_of("crm", "x" * 201)
    assert isinstance(find_adapter("crm", "hub=acme"), StandardAdapter)
    with pytest.raises(InvalidInput) as caught:
        find_adapter("hub", "hub=acme")
    assert caught.value.reason_code == "crm_adapter_unknown"
    installed = EntryPoint("acme", "tests.invoicing.fake_crms:HubAdapter", "ratemill.crm_adapters")
    monkeypatch.setattr(
        "invoicing.crm.adapter.entry_points", lambda *, group: [installed] if "crm" in group else []
    )
    assert isinstance(find_adapter("hub", "other=x,hub=acme"), HubAdapter)
