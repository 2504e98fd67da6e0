"""Documents that are kept in every version: billing entities, tax rates, country profiles.

The highest version is in force. The same document again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Select, func, insert, select

from ingest.document import Document, canonical_json, document_hash, validate_document
from ingest.errors import Issue, NotFound
from ingest.ledger import ledger_transaction, lock_name
from invoicing.tables import SAVED_DOCUMENTS
from rating.plan_version import Entered, SavedDocument

Model = TypeVar("Model", bound=Document)


@dataclass(frozen=True, slots=True)
class StoredDocument(Generic[Model]):
    """A document in force and its version."""

    document: Model
    version: int


@dataclass(frozen=True, slots=True)
class DocumentKind(Generic[Model]):
    """One kind: ``name`` in the ledger, the ``field`` that is its key, what people call it, its rules.

    missing: what to do when there is none under a key, one sentence.
    """

    name: str
    model: type[Model]
    field: str
    words: str
    rules: Callable[[Model], Iterable[Issue]]
    missing: str

    def save(
        self,
        ledger: Engine,
        document: Any,
        *,
        now: datetime,
        warnings: Callable[[Model], Iterable[Issue]] = lambda _: (),
        entered: Entered | None = None,
    ) -> SavedDocument:
        """Check and save one document (a mapping). entered: called in the transaction when it is new. Raises
        InvalidDocument with every broken rule."""
        named = document.get(self.field, "?")
        checked = validate_document(
            self.model, dict(document), what=f"{self.words} {named!r}", rules=self.rules
        )
        key, digest = str(getattr(checked, self.field)), document_hash(checked)
        told = tuple(warnings(checked))
        with ledger_transaction(ledger) as connection:
            lock_name(connection, f"{self.name} {key}")
            before = self._newest(connection, key)
            if before is not None and document_hash(before.document) == digest:
                return SavedDocument(key, before.version, created=False, warnings=told)
            version = 1 if before is None else before.version + 1
            row = {"kind": self.name, "key": key, "version": version, "document": canonical_json(checked)}
            connection.execute(
                insert(SAVED_DOCUMENTS), row | {"document_hash": digest, "created_at": now.isoformat()}
            )
            saved = SavedDocument(key, version, created=True, warnings=told)
            if entered is not None:
                entered(connection, [saved])
        return saved

    def get(self, ledger: Engine, key: str) -> StoredDocument[Model]:
        """The document in force. Raises NotFound."""
        with ledger.connect() as connection:
            return self.in_force(connection, key)

    def in_force(self, connection: Connection, key: str) -> StoredDocument[Model]:
        """As ``get``, as the connection sees it."""
        found = self._newest(connection, key)
        if found is None:
            raise NotFound(f"{self.words} {key!r} is not on record. {self.missing}")
        return found

    def find(self, connection: Connection, keys: Iterable[str]) -> dict[str, Model]:
        """Those of the keys that are on record, in force."""
        found = {key: self._newest(connection, key) for key in sorted(set(keys))}
        return {key: stored.document for key, stored in found.items() if stored is not None}

    def load(self, connection: Connection) -> dict[str, StoredDocument[Model]]:
        """All that are in force, by key, in order."""
        found = self._read(connection, self._in_force())
        return {key: found[key] for key in sorted(found)}

    def page(self, connection: Connection, *, after: str, limit: int) -> dict[str, StoredDocument[Model]]:
        """Up to ``limit`` of those in force behind a key, by key, in the database's order."""
        key = SAVED_DOCUMENTS.c.key
        return self._read(connection, self._in_force().where(key > after).order_by(key).limit(limit))

    def _in_force(self) -> Select[Any]:
        table = SAVED_DOCUMENTS
        newest = (
            select(table.c.key, func.max(table.c.version).label("version"))
            .where(table.c.kind == self.name)
            .group_by(table.c.key)
            .subquery()
        )
        query = select(table.c.key, table.c.version, table.c.document).join(
            newest, (table.c.key == newest.c.key) & (table.c.version == newest.c.version)
        )
        return query.where(table.c.kind == self.name)

    def _read(self, connection: Connection, query: Select[Any]) -> dict[str, StoredDocument[Model]]:
        return {
            row.key: StoredDocument(self.model.model_validate_json(row.document), row.version)
            for row in connection.execute(query)
        }

    def _newest(self, connection: Connection, key: str) -> StoredDocument[Model] | None:
        table = SAVED_DOCUMENTS
        query = select(table.c.document, table.c.version).where(table.c.kind == self.name, table.c.key == key)
        row = connection.execute(query.order_by(table.c.version.desc()).limit(1)).one_or_none()
        return None if row is None else StoredDocument(self.model.model_validate_json(row[0]), row[1])
