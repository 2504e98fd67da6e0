"""Goal: whatever CRM tells of customers, catalogue, deals and quotes, in whatever order and however often,
the same comes of it, once. Every adapter must pass these tests as they stand."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, select

from ingest.errors import Forbidden, InvalidDocument, InvalidInput, NotFound, UnreadableBody
from invoicing.audit_verify import verify_books
from invoicing.billable_read import ItemFilter, list_items
from invoicing.crm import inbox
from invoicing.crm.adapter import StandardAdapter, crm_secret, find_adapter
from invoicing.crm.apply import Applying, apply_change, key_of
from invoicing.crm.change import CSV, NDJSON, check_changes, read_changes
from invoicing.crm.inbox import TakenChange, apply_waiting, list_crm_conflicts, list_objects, take_changes
from invoicing.customer_store import get_customer
from invoicing.quote_store import get_quote
from invoicing.sales.catalogue import PRICE_LISTS, PRODUCTS, PROMOTIONS
from invoicing.tables import SAVED_DOCUMENTS
from rating.catalogue import save_price_plan
from rating.contract_store import get_contract
from tests.invoicing.fake_crms import CRMS, FakeCrm, HubAdapter, Said
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, at

SECRET = "a secret of tests, long enough"
NOW = at("2026-05-02T10:00")
CRM = pytest.mark.parametrize("crm", CRMS, ids=lambda crm: type(crm).__name__)
TERMS = {"terms_version": "2026-01"}
ACCEPTED = {"acceptance": {"name": "Ada Miller", **TERMS}}
CONTRACT = {"plan_id": "gold", "start_date": "2026-05-01", "time_zone": "UTC"}


def item(name: str, price: str, billed: str = "recurring") -> dict[str, Any]:
    return {"name": name, "kind": "product", "billed": billed, "prices": {"EUR": price}}


def offer(**changes: Any) -> dict[str, Any]:
    return {
        "customer_external_id": "001-7",
        "opportunity_external_id": "006-1",
        "title": "Safe data",
        "contract": CONTRACT,
        **TERMS,
        "price_list_external_id": "b-1",
        "promotion_external_ids": ["c-1"],
        "outcomes": [
            {"outcome_id": "safe", "description": "No data is ever lost", "product_external_id": "p-3"}
        ],
        **changes,
    }


DEAL: dict[str, Any] = {"name": "Safe data", "stage": "Negotiation", "customer_external_id": "001-7"}
STORY: tuple[Said, ...] = (
    ("customer", "001-7", "2026-05-01T08:00:00+00:00", {"name": "Acme", "country": "DE"}),
    ("product", "p-1", "2026-05-01T08:00:00+00:00", item("Storage", "10.00")),
    ("product", "p-2", "2026-05-01T08:00:00+00:00", item("Setup", "99.00", "once")),
    (
        "product",
        "p-3",
        "2026-05-01T08:00:01+00:00",
        {
            "name": "Backup",
            "kind": "bundle",
            "components": [
                {"product_external_id": "p-1", "quantity": "3"},
                {"product_external_id": "p-2"},
            ],
        },
    ),
    (
        "price_list",
        "b-1",
        "2026-05-01T08:00:02+00:00",
        {
            "name": "Partners",
            "currency": "EUR",
            "entries": [{"product_external_id": "p-1", "price": "9.00"}],
        },
    ),
    (
        "promotion",
        "c-1",
        "2026-05-01T08:00:03+00:00",
        {"name": "Spring", "percent": "10", "product_external_ids": ["p-2"]},
    ),
    ("opportunity", "006-1", "2026-05-01T08:00:04+00:00", DEAL),
    ("quote", "q-9", "2026-05-01T08:00:05+00:00", offer()),
    ("customer", "001-7", "2026-05-01T09:00:00+00:00", {"name": "Acme GmbH", "country": "DE"}),
    (
        "opportunity",
        "006-1",
        "2026-05-01T09:30:00+00:00",
        {**DEAL, "stage": "Closed", "state": "won", "amount": "1000.00", "currency": "EUR"},
    ),
    ("quote", "q-9", "2026-05-01T10:00:00+00:00", offer(**ACCEPTED)),
)
APPLYING = Applying(None, "crm:crm", NOW)


@pytest.fixture
def books(ledger: Engine) -> Engine:
    return with_plan(ledger)


def with_plan(ledger: Engine) -> Engine:
    plan = {
        "plan_id": "gold",
        "name": "Gold",
        "currency": "EUR",
        "effective_from": "2020-01-01",
        "charges": [MONTHLY_FEE],
    }
    save_price_plan(ledger, plan, now=LONG_AGO)
    return ledger


def tell(ledger: Engine, crm: FakeCrm, *said: Said, system: str = "crm") -> list[TakenChange]:
    """As the webhook's door does it."""
    secret = crm_secret(SECRET, system)
    headers, body = crm.delivery(said, secret=secret, now=NOW)
    crm.adapter.verify(headers, body, secret=secret, now=NOW)
    return take_changes(ledger, system, check_changes(crm.adapter.read(body)), applying=APPLYING)


def outcomes(taken: list[TakenChange]) -> list[str]:
    return [one.outcome for one in taken]


def in_force(ledger: Engine) -> dict[str, Any]:
    """All that is here because of the CRM."""
    quote = get_quote(ledger, "crm-q-9", now=NOW)
    with ledger.connect() as connection:
        catalogue = {
            key: stored.document
            for kind in (PRODUCTS, PRICE_LISTS, PROMOTIONS)
            for key, stored in kind.load(connection).items()
        }
    return {
        "customer": get_customer(ledger, "crm-001-7").customer,
        "catalogue": catalogue,
        "quote": (quote.state, quote.quote),
        "contract": get_contract(ledger, "crm-q-9"),
        "items": [one.item for one in list_items(ledger, chosen=ItemFilter(), limit=10)],
        "objects": [
            (one["kind"], one["external_id"], one["state"], one["key"], one["document"])
            for one in list_objects(ledger, system="crm", kind=None, state=None, limit=100)
        ],
    }


def versions(ledger: Engine) -> int:
    with ledger.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(SAVED_DOCUMENTS)).scalar_one())


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.requirement("CRM-03")
def test_a_deal_that_is_won_is_a_contract_and_once_is_enough(crm: FakeCrm, any_ledger: Engine) -> None:
    ledger = with_plan(any_ledger)
    assert outcomes(tell(ledger, crm, *STORY[:8])) == ["applied"] * 8
    offered = get_quote(ledger, "crm-q-9", now=NOW)
    assert (offered.state, offered.quote.external_ids) == (
        "open",
        {"crm": "q-9", "crm.opportunity": "006-1"},
    )
    assert [(part.product_id, part.amount) for part in offered.quote.outcomes[0].parts] == [
        ("crm-p-1", 27),
        ("crm-p-2", offered.quote.outcomes[0].parts[1].amount),
    ]
    assert f"{offered.quote.outcomes[0].parts[1].amount:.2f}" == "89.10"
    assert outcomes(tell(ledger, crm, *STORY[8:])) == ["applied"] * 3
    found = in_force(ledger)
    assert (found["customer"].name, found["quote"][0]) == ("Acme GmbH", "accepted")
    assert found["contract"].signed_by == "Ada Miller"
    assert [addition.charge.charge_id for addition in found["contract"].additions] == ["safe.crm-p-1"]
    before = versions(ledger)
    assert outcomes(tell(ledger, crm, *STORY[8:])) == ["unchanged"] * 3
    assert set(outcomes(tell(ledger, crm, *STORY))) == {"unchanged", "stale"}
    assert (in_force(ledger), versions(ledger)) == (found, before)
    assert verify_books(ledger).broken == ()


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.parametrize("seed", range(3))
def test_the_same_comes_of_any_order_and_of_repeats(crm: FakeCrm, seed: int, books: Engine) -> None:
    dice = random.Random(seed)
    said = [*STORY, *dice.choices(STORY, k=6)]
    dice.shuffle(said)
    while said:
        count = dice.randint(1, 4)
        tell(books, crm, *said[:count])
        said = said[count:]
    found = in_force(books)
    assert {state for _, _, state, _, _ in found["objects"]} == {"applied"}
    assert (found["customer"].name, found["quote"][0]) == ("Acme GmbH", "accepted")
    assert [addition.charge.charge_id for addition in found["contract"].additions] == ["safe.crm-p-1"]
    assert [f"{one.external_id} {one.unit_price:.2f}" for one in found["items"]] == [
        "crm-q-9/safe.crm-p-2 89.10"
    ]
    assert verify_books(books).broken == ()


@CRM
@pytest.mark.requirement("CRM-01")
def test_who_does_not_sign_says_nothing(crm: FakeCrm, books: Engine) -> None:
    secret = crm_secret(SECRET, "crm")
    headers, body = crm.delivery(STORY[:1], secret=secret, now=NOW)
    crm.adapter.verify(headers, body, secret=secret, now=NOW)
    late = timedelta(minutes=6)
    for bad_headers, bad_body, bad_secret, moment in (
        (headers, body + b" ", secret, NOW),
        (headers, body, crm_secret(SECRET, "other"), NOW),
        (headers, body, secret, NOW + late),
        (headers, body, secret, NOW - late),
        ({}, body, secret, NOW),
    ):
        with pytest.raises(Forbidden) as caught:
            crm.adapter.verify(bad_headers, bad_body, secret=bad_secret, now=moment)
        assert caught.value.reason_code == "crm_signature"


@CRM
@pytest.mark.requirement("CRM-01")
def test_what_is_refused_leaves_nothing_half_saved(crm: FakeCrm, books: Engine) -> None:
    no_terms = ("quote", "q-9", "2026-05-01T10:00:00+00:00", offer(acceptance={"name": "Ada"}))
    [*_, refused] = tell(books, crm, *STORY[:7], no_terms)
    assert (refused.outcome, refused.key) == ("refused", None)
    assert [issue.reason_code for issue in refused.issues] == ["terms_not_acknowledged"]
    with pytest.raises(NotFound):
        get_quote(books, "crm-q-9", now=NOW)
    assert list_items(books, chosen=ItemFilter(), limit=10) == []
    late = {**CONTRACT, "plan_id": "silver"}
    later = ("quote", "q-9", "2026-05-01T11:00:00+00:00", offer(contract=late, **ACCEPTED))
    assert outcomes(tell(books, crm, later)) == ["refused"]
    assert apply_waiting(books, "crm", applying=APPLYING, states=["refused"]) == 0
    silver = {"plan_id": "silver", "name": "Silver", "currency": "EUR", "effective_from": "2020-01-01"}
    save_price_plan(books, {**silver, "charges": [MONTHLY_FEE]}, now=LONG_AGO)
    assert apply_waiting(books, "crm", applying=APPLYING, states=["refused"]) == 1
    assert get_quote(books, "crm-q-9", now=NOW).state == "accepted"
    # One change that is none keeps the whole delivery out.
    with pytest.raises(InvalidDocument):
        tell(books, crm, STORY[8], ("invoice", "i-1", "2026-05-01T10:00:00+00:00", {}))
    assert get_customer(books, "crm-001-7").customer.name == "Acme"


@CRM
@pytest.mark.requirement("CRM-01")
def test_two_changes_of_one_instant_are_a_conflict_that_is_listed(crm: FakeCrm, books: Engine) -> None:
    tell(books, crm, STORY[0])
    other = ("customer", "001-7", STORY[0][2], {"name": "Acme Ltd", "country": "GB"})
    for _ in range(2):
        [taken] = tell(books, crm, other)
        assert (taken.outcome, taken.issues[0].reason_code) == ("conflict", "crm_conflict")
    assert get_customer(books, "crm-001-7").customer.name == "Acme"
    [listed] = list_crm_conflicts(books, system="crm", limit=10)
    assert listed["document"]["name"] == "Acme Ltd"
    assert (
        list_crm_conflicts(
            books, system="crm", limit=10, after=["crm", "customer", "001-7", listed["document_hash"]]
        )
        == []
    )


@CRM
def test_a_key_belongs_to_one_object(crm: FakeCrm, books: Engine) -> None:
    PRODUCTS.save(books, {"product_id": "crm-p-1", **item("Ours", "1.00")}, now=LONG_AGO)
    [refused] = tell(books, crm, STORY[1])
    assert refused.issues[0].reason_code == "crm_key_taken"
    named = ("product", "p-1", "2026-05-02T08:00:00+00:00", {**STORY[1][3], "product_id": "crm-p-1"})
    assert outcomes(tell(books, crm, named)) == ["applied"]  # said to be the same
    moved = ("product", "p-1", "2026-05-03T08:00:00+00:00", {**STORY[1][3], "product_id": "x"})
    assert [one.issues[0].reason_code for one in tell(books, crm, moved)] == ["crm_key_changed"]
    again = ("product", "p-8", "2026-05-03T08:00:00+00:00", {**STORY[1][3], "product_id": "crm-p-1"})
    assert [one.issues[0].reason_code for one in tell(books, crm, again)] == ["crm_key_taken"]


PLAIN_OFFER: dict[str, Any] = {
    "customer_id": "crm-001-7",
    "title": "Safe data",
    "contract": CONTRACT,
    **TERMS,
    "outcomes": [{"outcome_id": "safe", "description": "No data is lost", "product_id": "crm-p-3"}],
}


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("product", {**item("Storage", "1.00"), "external_ids": ["x"]}),
        ("price_list", {"name": "P", "currency": "EUR", "prices": ["x"], "entries": []}),
        ("price_list", {"name": "P", "currency": "EUR", "entries": "x"}),
        (
            "price_list",
            {
                "name": "P",
                "currency": "EUR",
                "entries": [{"product_id": "a", "price": "1"}, {"product_id": "a", "price": "2"}],
            },
        ),
        ("quote", {**PLAIN_OFFER, "acceptance": "yes"}),
        ("quote", {**PLAIN_OFFER, "acceptance": ["Ada"]}),
        ("quote", {**PLAIN_OFFER, "contract": "x"}),
        ("quote", {**PLAIN_OFFER, "external_ids": "x"}),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused_and_keeps_nothing_else_out(
    crm: FakeCrm, kind: str, data: dict[str, Any], books: Engine
) -> None:
    """Raised instead, it would stay ``received``, and every later delivery would fail on it."""
    tell(books, crm, *STORY[:4])
    [bad, good] = tell(books, crm, (kind, "bad", STORY[4][2], data), STORY[6])
    assert (bad.outcome, good.outcome) == ("refused", "applied")
    assert bad.issues
    assert [one["external_id"] for one in _in_state(books, "refused")] == ["bad"]


def _in_state(ledger: Engine, state: str) -> list[dict[str, Any]]:
    return list_objects(ledger, system="crm", kind=None, state=state, limit=10)


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
