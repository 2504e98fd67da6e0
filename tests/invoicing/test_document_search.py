"""Goal: every issued document is found by what is on it, and an answer is never of a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import default_ledger_url, ledger_transaction, open_ledger
from invoicing import search_index
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.customer_store import save_customer
from invoicing.document_list import DocumentFilter, DocumentSummary, list_documents
from invoicing.search_index import catch_up, documents_behind
from invoicing.search_tables import SEARCHED_DOCUMENTS
from invoicing.search_words import asked_words, document_words, words_of
from invoicing.store import InvoiceFilter, list_invoices
from tests.invoicing.test_special_invoices import issue, site
from tests.invoicing.test_tax_billing import CUSTOMER
from tests.invoicing.world import LONG_AGO, World, at


def archived(world: World) -> World:
    """Two invoices, a credit note and two special invoices of two customers."""
    site(world)
    other = CUSTOMER | {"customer_id": "k9", "name": "Zoë Überland AG", "email": "post@zoe.example"}
    save_customer(world.ledger, other, now=LONG_AGO)
    world.contract(contract_id="c9", customer_id="k9", terms={"purchase_order": "PO-4711"})
    world.bill("2025-01-15")
    request = CreditNoteRequest.model_validate({"reason": "Delivered to the wrong Depot"})
    issue_credit_note(
        world.ledger, "INV-2025-000001", request, Issuing("CN", "finance", None, at("2025-01-20"))
    )
    issue(world, "deposit", "100.00", percent="30", title="Plant in Hamburg")
    issue(world, "miscellaneous", "7.50", reason="lost badge")
    return world


def found(ledger: Engine, words: str, **chosen: Any) -> list[str]:
    page = list_documents(ledger, chosen=DocumentFilter(search=words, **chosen), limit=100)
    assert page.next_position is None
    return sorted(document.number for document in page.documents)


def invoices(ledger: Engine, words: str) -> list[str | None]:
    page = list_invoices(ledger, chosen=InvoiceFilter(search=words), limit=100)
    return sorted((invoice.number for invoice in page.invoices), key=str)


@pytest.mark.requirement("AUD-11")
def test_documents_of_all_kinds_are_found_by_number_customer_and_words(any_world: World) -> None:
    ledger = archived(any_world).ledger
    one, nine = "INV-2025-000001", "INV-2025-000002"
    for words, numbers in {
        one: [one],  # its number alone: the credit note that names it is found by words
        "uberland": [nine],  # without the accent
        "ZOË ag": [nine],
        "post@zoe.example": [nine],
        "PO-4711": [nine],  # looks like a number of ours, and is none
        "monthly fee": ["CN-2025-000001", one, nine],  # texts of lines
        "wrong depot": ["CN-2025-000001"],
        "hamburg plant": ["DEP-2025-000001"],
        "badge": ["MISC-2025-000001"],
        "badg": [],
        "badg*": ["MISC-2025-000001"],
        "overl* zoe": [],
        "über* zoe": [nine],
        "acme": ["CN-2025-000001", "DEP-2025-000001", one, "MISC-2025-000001"],
        "acme nobody": [],
    }.items():
        assert found(ledger, words) == numbers, words
    assert found(ledger, "acme", kind="deposit") == ["DEP-2025-000001"]
    assert found(ledger, "fee", customer_id="k9") == [nine]
    assert invoices(ledger, "monthly fee") == [one, nine]
    assert invoices(ledger, "po-4711") == [nine]
    assert invoices(ledger, "berland") == [nine]  # a part of the customer's name
    for nothing in ("", " ", "*-*"):
        with pytest.raises(InvalidInput):
            list_documents(ledger, chosen=DocumentFilter(search=nothing), limit=1)
    pages = _pages(ledger, None)
    assert [one.issue_date for one in pages] == sorted((one.issue_date for one in pages), reverse=True)
    assert len({one.document_id for one in pages}) == len(pages) == 5
    assert sorted(one.number for one in _pages(ledger, "acme")) == found(ledger, "acme")
    with pytest.raises(InvalidInput, match="another question"):
        list_documents(ledger, chosen=DocumentFilter(search="acme"), limit=1, after=("2025", "INV", 1))


def _pages(ledger: Engine, search: str | None) -> list[DocumentSummary]:
    seen: list[DocumentSummary] = []
    after = None
    while True:
        page = list_documents(ledger, chosen=DocumentFilter(search=search), limit=2, after=after)
        seen += page.documents
        after = page.next_position
        if after is None:
            return seen


@pytest.mark.requirement("AUD-11")
def test_what_is_issued_is_found_at_once_and_an_index_far_behind_answers_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = archived(world).ledger
    with monkeypatch.context() as small:
        small.setattr(search_index, "BLOCK", 1)
        small.setattr(search_index, "CATCH_UP_MAX", 2)
        with pytest.raises(Conflict, match="3 issued documents are not in the search index"):
            found(ledger, "uberland")  # two of five were taken in by this, two by the next
        with pytest.raises(Conflict, match="1 issued documents are not in the search index"):
            found(ledger, "uberland")
        steps: list[tuple[int, int]] = []
        assert catch_up(ledger, step=lambda done, total: steps.append((done, total))) == 1
        assert steps == [(1, 1)]
    with ledger.connect() as connection:
        assert documents_behind(connection) == 0
        assert connection.execute(select(func.count()).select_from(SEARCHED_DOCUMENTS)).scalar_one() == 5
    issue(world, "miscellaneous", "1.00", reason="umbrella", on="2025-02-02")
    with monkeypatch.context() as broken_once:
        broken_once.setattr(search_index, "_move_cursor", _broken)
        with pytest.raises(RuntimeError, match="power cut"):
            catch_up(ledger)
    assert found(ledger, "umbrella") == ["MISC-2025-000002"]
    assert catch_up(ledger) == 0


def test_a_search_is_answered_while_documents_are_being_issued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is issued right after the index has taken in all there were: it is of the next search."""
    ledger = archived(world).ledger
    take_in = search_index.catch_up

    def then_issue(ledger: Engine, *, most: int | None = None) -> int:
        taken = take_in(ledger, most=most)
        issue(world, "miscellaneous", "1.00", reason="umbrella", on="2025-02-02")
        return taken

    with monkeypatch.context() as busy:
        busy.setattr(search_index, "catch_up", then_issue)
        assert found(ledger, "badge") == ["MISC-2025-000001"]
    assert found(ledger, "umbrella") == ["MISC-2025-000002"]


def _broken(*_: object) -> None:
    raise RuntimeError("power cut")


WORDS = ("Freight", "freight-cost", "Überfracht", "uber", "İstanbul", "x", "straße", "PO-1", "a_b", "\uff12")


@settings(max_examples=40)
@given(
    documents=st.lists(st.lists(st.sampled_from(WORDS), max_size=4), min_size=1, max_size=6),
    asked=st.lists(st.sampled_from((*WORDS, "fre*", "u*", "strasse", "20", "1")), min_size=1, max_size=3),
)
def test_the_index_finds_what_reading_every_document_finds(
    word_table: Engine, documents: Sequence[Sequence[str]], asked: Sequence[str]
) -> None:
    """The plain way: every word that is asked for is one of the document's, or begins one where it may."""
    question = " ".join(asked)
    words = [document_words({"note": list(texts)}) for texts in documents]
    plain = [
        place
        for place, has in enumerate(words, 1)
        if all(
            any(word.startswith(one) if begins else word == one for word in has)
            for one, begins in asked_words(question)
        )
    ]
    with ledger_transaction(word_table) as connection:
        connection.execute(text("INSERT INTO document_words (document_words) VALUES ('delete-all')"))
        for place, has in enumerate(words, 1):
            row = {"place": place, "words": " ".join(has)}
            connection.execute(text("INSERT INTO document_words (rowid, words) VALUES (:place, :words)"), row)
        places = connection.execute(search_index.places_of(word_table, question)).scalars().all()
    assert sorted(places) == plain


@pytest.fixture(scope="module")
def word_table(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_ledger(default_ledger_url(tmp_path_factory.mktemp("words")))


def test_words_have_one_form() -> None:
    assert words_of("Überland-Fahrt, 2. Klasse") == ["uberland", "fahrt", "2", "klasse"]
    assert words_of("STRASSE Straße") == ["strasse", "strasse"]
    assert words_of("!?") == []
    document = {"number": "INV-1", "seller": {"name": "Us"}, "issue_date": str(date(2025, 1, 2)), "lines": []}
    assert document_words(document) == ["1", "inv"]
