"""Goal: of what systems say of a customer, each field in force is the one people chose to believe, and
whatever differs is named. Pure: no store."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.document import validate_document
from ingest.errors import InvalidDocument
from invoicing.customer_record import (
    DIRECT,
    FIELDS,
    Claim,
    CustomerRecord,
    CustomerSources,
    FieldInForce,
    merge_customer,
    new_claim,
    record_rules,
    sources_rules,
)

NO_SOURCES = CustomerSources()


def claim(system: str, told_at: str, **values: Any) -> Claim:
    return Claim(system, f"{system}-7", values, dict.fromkeys(values, told_at), told_at)


def email_in_force(sources: CustomerSources, **said: tuple[str, str]) -> FieldInForce:
    """The e-mail in force when each system said (when, what)."""
    claims = [claim(system, told_at, email=email) for system, (told_at, email) in said.items()]
    merged = merge_customer("acme", claims, sources, entered_external_ids={})
    return merged.fields[0]


CRM_FIRST = CustomerSources(fields={"email": ("crm", "psa")})
# Who said what (told in the order of the columns), by which order, is in force; why; differs?
TABLE = [
    # direct, crm, psa, accounting    believed     in force  why                 conflict
    (("d@x", None, None, None), NO_SOURCES, "d@x", "only_source", False),
    (("d@x", "c@x", None, None), NO_SOURCES, "d@x", "entered_directly", True),
    (("d@x", "d@x", None, None), NO_SOURCES, "d@x", "entered_directly", False),
    ((None, "c@x", "p@x", None), NO_SOURCES, "c@x", "told_first", True),
    ((None, None, "p@x", "a@x"), NO_SOURCES, "p@x", "told_first", True),
    (("d@x", "c@x", "p@x", None), CRM_FIRST, "c@x", "source_of_truth", True),
    (("d@x", None, "p@x", "a@x"), CRM_FIRST, "p@x", "source_of_truth", True),
    (("d@x", None, None, "a@x"), CRM_FIRST, "d@x", "entered_directly", True),
    ((None, None, None, "a@x"), CRM_FIRST, "a@x", "only_source", False),
    (("d@x", "c@x", None, None), CustomerSources(default=("crm",)), "c@x", "source_of_truth", True),
    (("d@x", "c@x", None, None), CustomerSources(default=("psa", "direct")), "d@x", "source_of_truth", True),
]
SYSTEMS = (DIRECT, "crm", "psa", "accounting")


@pytest.mark.requirement("AUD-04")
@pytest.mark.parametrize(("said", "sources", "value", "why", "conflict"), TABLE)
def test_the_source_of_truth_of_a_field_decides(
    said: tuple[str | None, ...], sources: CustomerSources, value: str, why: str, conflict: bool
) -> None:
    told = {
        system: (f"2026-01-0{day}", email)
        for day, (system, email) in enumerate(zip(SYSTEMS, said, strict=True), 1)
        if email is not None
    }
    found = email_in_force(sources, **told)
    assert (found.value, found.why, found.is_conflict) == (value, why, conflict)
    assert found.claims[0].value == value
    assert {one.system for one in found.claims} == set(told), "nobody's value is left out"


def test_a_system_that_speaks_again_does_not_push_out_what_is_in_force() -> None:
    crm = claim("crm", "2026-01-01", email="c@x")
    psa = claim("psa", "2026-01-02", email="p@x")
    again = new_claim("crm", "crm-7", {"email": "new@x"}, before=crm, now="2026-01-03")
    assert again.since == {"email": "2026-01-03"}
    for claims in ([again, psa], [psa, again]):
        field = merge_customer("acme", claims, NO_SOURCES, entered_external_ids={}).fields[0]
        assert (field.value, field.system) == ("new@x", "crm")
    louder = new_claim("psa", "psa-7", {"email": "louder@x"}, before=psa, now="2026-01-04")
    field = merge_customer("acme", [crm, louder], NO_SOURCES, entered_external_ids={}).fields[0]
    assert (field.value, field.is_conflict) == ("c@x", True)


def test_a_value_that_stays_keeps_its_time_and_one_that_goes_is_gone() -> None:
    before = claim("crm", "2026-01-01", email="c@x", country="DE", name="Acme")
    after = new_claim("crm", "crm-7", {"email": "n@x", "country": "DE"}, before=before, now="2026-02-01")
    assert dict(after.since) == {"email": "2026-02-01", "country": "2026-01-01"}
    assert after.told_at == "2026-01-01"


def test_every_system_says_its_own_external_id() -> None:
    merged = merge_customer(
        "acme",
        [claim("crm", "2026-01-01", name="Acme")],
        NO_SOURCES,
        entered_external_ids={"bank": "DE44"},
    )
    assert merged.document == {
        "customer_id": "acme",
        "name": "Acme",
        "external_ids": {"bank": "DE44", "crm": "crm-7"},
    }


CLAIMS = st.lists(
    st.builds(
        claim,
        st.sampled_from(SYSTEMS),
        st.sampled_from(["2026-01-01", "2026-01-02"]),
        name=st.sampled_from(["a", "b"]),
        country=st.sampled_from(["DE", "FR"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.system,
)
ORDERS = st.lists(st.sampled_from(SYSTEMS), max_size=3, unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(CLAIMS, ORDERS, ORDERS)
def test_the_order_in_which_records_are_read_does_not_matter(
    claims: list[Claim], default: tuple[str, ...], of_name: tuple[str, ...]
) -> None:
    """And the value in force is always one that somebody says, of the best ranked who says anything."""
    sources = CustomerSources(default=default, fields={"name": of_name})
    found = [
        merge_customer("acme", order, sources, entered_external_ids={}) for order in permutations(claims)
    ]
    assert all(one == found[0] for one in found)
    for field in found[0].fields:
        named = [system for system in sources.order(field.field) if system in {c.system for c in claims}]
        expected = named[0] if named else DIRECT if DIRECT in {c.system for c in claims} else field.system
        assert field.system == expected
        assert field.value in {one.value for one in field.claims}
        assert field.is_conflict == (len({one.value for one in field.claims}) > 1)


@pytest.mark.parametrize(
    ("document", "reason_code"),
    [
        ({"fields": {"shoe_size": ["crm"]}}, "unknown_customer_field"),
        ({"default": ["crm", "crm"]}, "system_twice"),
        ({"fields": {"email": ["no spaces"]}}, "string_pattern_mismatch"),
        ({"order": ["crm"]}, "extra_forbidden"),
    ],
)
def test_bad_sources_are_refused_with_the_reason(document: dict[str, Any], reason_code: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        validate_document(CustomerSources, document, what="the sources", rules=sources_rules)
    assert [issue.reason_code for issue in caught.value.issues] == [reason_code]


def test_a_record_is_checked_as_a_customer_is_and_needs_no_name() -> None:
    assert validate_document(CustomerRecord, {"external_id": "7"}, what="a record").name == ""
    bad = {"external_id": "7", "country": "XX", "email": "nobody", "address_lines": ["x"] * 9}
    with pytest.raises(InvalidDocument) as caught:
        validate_document(CustomerRecord, bad, what="a record", rules=record_rules)
    codes = [issue.reason_code for issue in caught.value.issues]
    assert codes == ["unknown_country", "bad_email", "address_too_long"]
    assert set(FIELDS) < set(CustomerRecord.model_fields)
