"""Which series a document is numbered in: by its kind and by the billing entity that sends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from invoicing.billing_entity import BILLING_ENTITIES
from invoicing.number import DrawnNumbers, draw_for
from invoicing.register import DocumentKind


@dataclass(frozen=True, slots=True)
class NumberPrefixes:
    """The part of numbers before the year. invoice, credit_note: of entities that have none of their own;
    own: by entity_id and kind."""

    invoice: str
    credit_note: str
    own: Mapping[tuple[str, DocumentKind], str]

    def of(self, kind: DocumentKind, entity_id: str | None) -> str:
        """The prefix of a document."""
        usual = self.invoice if kind == "invoice" else self.credit_note
        return usual if entity_id is None else self.own.get((entity_id, kind), usual)

    def all_of(self, kind: DocumentKind) -> list[str]:
        """Every prefix documents of a kind may have, in order."""
        own = {prefix for (_, owned), prefix in self.own.items() if owned == kind}
        return sorted(own | {self.of(kind, None)})


def load_prefixes(connection: Connection, *, invoice: str, credit_note: str) -> NumberPrefixes:
    """The prefixes of the settings, and those billing entities have of their own."""
    own: dict[tuple[str, DocumentKind], str] = {
        (entity_id, kind): prefix
        for entity_id, stored in BILLING_ENTITIES.load(connection).items()
        for kind, prefix in stored.document.series.items()
    }
    return NumberPrefixes(invoice, credit_note, own)


def bill_kind(gross_minor: int) -> DocumentKind:
    """A bill is an invoice; one that comes to less than nothing, tax included, is a credit note."""
    return "invoice" if gross_minor >= 0 else "credit_note"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of several documents. blocks: one a series; places: of each document its block and its
    place in that."""

    blocks: tuple[DrawnNumbers, ...]
    places: tuple[tuple[int, int], ...]

    def text(self, document: int) -> str:
        """The printed number of a document, by its place among all."""
        block, place = self.places[document]
        return self.blocks[block].text(place)

    def number(self, document: int) -> tuple[str, int]:
        """Its series and number."""
        block, place = self.places[document]
        return self.blocks[block].series, self.blocks[block].first + place

    def by_block(self) -> Iterator[tuple[DrawnNumbers, list[int]]]:
        """Each block with its documents, in order of numbers."""
        members: list[list[int]] = [[] for _ in self.blocks]
        for document, (block, _) in enumerate(self.places):
            members[block].append(document)
        yield from zip(self.blocks, members, strict=True)


def draw_each(connection: Connection, prefixes: Sequence[str], *, issue_date: date) -> Numbers:
    """Draw a number for each document, by its prefix, in the order given; each series once. Series are taken
    in the order of their names, so that two that draw never wait for each other in a ring.

    Raises Conflict for a day before the last document's of a prefix.
    """
    names = sorted(set(prefixes))
    blocks = tuple(
        draw_for(connection, prefix=name, issue_date=issue_date, count=prefixes.count(name)) for name in names
    )
    taken = dict.fromkeys(names, 0)
    places = []
    for prefix in prefixes:
        places.append((names.index(prefix), taken[prefix]))
        taken[prefix] += 1
    return Numbers(blocks, tuple(places))
