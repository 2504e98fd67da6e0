"""Names of a CRM become keys of ours: ``customer_external_id`` becomes ``customer_id``, and so on.

An object that was not told of yet is worth waiting for; one that will never come is seen in the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select

from invoicing.crm.change import CrmKind
from invoicing.crm.tables import CRM_OBJECTS
from invoicing.customer_claims import owners_of_external_ids

_NAMED: Final[Mapping[str, tuple[CrmKind, str]]] = {
    "customer_external_id": ("customer", "customer_id"),
    "product_external_id": ("product", "product_id"),
    "price_list_external_id": ("price_list", "price_list_id"),
}
_NAMED_LISTS: Final[Mapping[str, tuple[CrmKind, str]]] = {
    "product_external_ids": ("product", "product_ids"),
    "promotion_external_ids": ("promotion", "promotion_ids"),
}


class WaitsFor(Exception):
    """Objects that are named and not there yet."""

    def __init__(self, missing: list[tuple[CrmKind, str]]) -> None:
        super().__init__(missing)
        self.missing = missing


def with_our_keys(connection: Connection, system: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with our keys in the place of the system's, at any depth. Raises WaitsFor."""
    named = sorted(set(_names_in(data)))
    keys = _keys(connection, system, named)
    missing = [name for name in named if name not in keys]
    if missing:
        raise WaitsFor(missing)
    replaced: dict[str, Any] = _replaced(data, keys)
    return replaced


def _names_in(value: Any) -> Iterator[tuple[CrmKind, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in _NAMED:
                if inner is not None:  # null names nothing
                    yield _NAMED[name][0], str(inner)
            elif name in _NAMED_LISTS and isinstance(inner, list):
                yield from ((_NAMED_LISTS[name][0], str(each)) for each in inner)
            else:
                yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)


def _keys(
    connection: Connection, system: str, named: list[tuple[CrmKind, str]]
) -> dict[tuple[CrmKind, str], str]:
    customers = [(system, external_id) for kind, external_id in named if kind == "customer"]
    owners = owners_of_external_ids(connection, customers) if customers else {}
    found: dict[tuple[CrmKind, str], str] = {("customer", key[1]): owner for key, owner in owners.items()}
    table = CRM_OBJECTS.c
    for kind, external_id in named:
        if kind != "customer":
            own = (table.system == system) & (table.kind == kind) & (table.external_id == external_id)
            key = connection.execute(select(table.key).where(own)).scalar()
            if key is not None:
                found[kind, external_id] = key
    return found


def _replaced(value: Any, keys: Mapping[tuple[CrmKind, str], str]) -> Any:
    if isinstance(value, list):
        return [_replaced(inner, keys) for inner in value]
    if not isinstance(value, Mapping):
        return value
    made: dict[str, Any] = {}
    for name, inner in value.items():
        if name in _NAMED:
            kind, ours = _NAMED[name]
            made[ours] = None if inner is None else keys[kind, str(inner)]
        elif name in _NAMED_LISTS and isinstance(inner, list):
            kind, ours = _NAMED_LISTS[name]
            made[ours] = [keys[kind, str(each)] for each in inner]
        else:
            made[name] = _replaced(inner, keys)
    return made
