"""API keys: who may call what.

A key reads ``rm_<key_id>_<secret>`` and is shown once, when it is made; the ledger keeps a hash of
the secret. Scopes: ``ingest`` (send events), ``read`` (look at everything), ``current_bill`` (a
customer's bill as of now and nothing else; ``read`` implies it), ``send`` (issue drafts that need
no review or have passed it), ``review`` (correct and approve drafts), ``bill`` (price, bill and issue;
implies ``send``), ``admin`` (documents and keys; implies the others). A read key may be made for one
customer: it reaches only routes that say how they are about a customer (``Sees``), and only for that one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, get_args

import sqlalchemy as sa
from sqlalchemy import Engine
from starlette.requests import Request

from api.customer_key import Sees, check_own, customer_key_issues
from api.tables import API_KEYS
from ingest.clock import Clock
from ingest.errors import Forbidden, InvalidInput, Issue, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import SYSTEM_ACTOR, Change, record_changes
from invoicing.customer_store import require_customer

Scope = Literal["ingest", "read", "current_bill", "send", "review", "bill", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_IMPLIED_BY: Final[dict[Scope, Scope]] = {"send": "bill", "current_bill": "read"}
PREFIX: Final = "rm"
CACHE_SECONDS: Final = 10
"""How long a verified key is believed without asking the ledger. A key revoked by this process is
refused at once; one revoked by another process on the same ledger, after at most this long."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as listed: everything but the secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    revoked_at: str | None = None
    customer_id: str | None = None
    """The one customer that it sees; None: all there is."""

    def allows(self, scope: Scope) -> bool:
        return bool({scope, "admin", _IMPLIED_BY.get(scope)} & {*self.scopes})

    def to_dict(self) -> dict[str, object]:
        return {
            "key_id": self.key_id,
            "name": self.name,
            "scopes": list(self.scopes),
            "created_at": self.created_at,
            "revoked_at": self.revoked_at,
            "customer_id": self.customer_id,
        }


class KeyRing:
    """Checks tokens against the ledger, with a short memory of those that passed."""

    def __init__(self, ledger: Engine, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: dict[str, tuple[ApiKey, datetime]] = {}
        self._own: dict[str, ApiKey] = {}

    def grant_in_memory(self, name: str, scopes: Sequence[Scope], customer_id: str | None = None) -> str:
        """A token known to this process only, gone with it: for a command's private server."""
        token = new_token(secrets.token_hex(6))
        key_id, made_at = token.split("_")[1], self._clock.now().isoformat()
        key = ApiKey(key_id, name, tuple(scopes), made_at, customer_id=customer_id)
        with self._lock:
            self._own[_token_hash(token)] = key
        return token

    def verify(self, authorization: str | None) -> ApiKey:
        """The key behind an ``Authorization`` header.

        Raises Forbidden: key_missing, key_unknown or key_revoked.
        """
        token = _bearer_token(authorization)
        token_hash = _token_hash(token)
        with self._lock:
            own = self._own.get(token_hash)
            known = self._verified.get(token_hash)
        if own is not None:
            return own
        if known is not None and self._clock.now() < known[1]:
            return known[0]
        key = self._look_up(token)
        with self._lock:
            self._verified[token_hash] = (key, self._clock.now() + timedelta(seconds=CACHE_SECONDS))
        return key

    def remembered(self, authorization: str | None) -> ApiKey | None:
        """What ``verify`` would answer without asking the ledger, so without leaving the event loop; None
        when it would have to ask, or refuse."""
        if not authorization or not authorization.startswith("Bearer "):
            return None
        token_hash = _token_hash(authorization[7:].strip())
        with self._lock:
            own = self._own.get(token_hash)
            known = self._verified.get(token_hash)
        if own is None and known is not None and self._clock.now() < known[1]:
            return known[0]
        return own

    def forget_verified(self) -> None:
        """Ask the ledger again for every key; called when one is revoked."""
        with self._lock:
            self._verified.clear()

    def _look_up(self, token: str) -> ApiKey:
        parts = token.split("_", 2)
        if len(parts) != 3 or parts[0] != PREFIX:
            raise _unknown_key()
        with self._ledger.connect() as connection:
            row = connection.execute(sa.select(API_KEYS).where(API_KEYS.c.key_id == parts[1])).one_or_none()
        # An unknown key costs the same comparison as a known one.
        expected = row.secret_hash if row else _secret_hash("")
        if not hmac.compare_digest(_secret_hash(parts[2]), expected) or row is None:
            raise _unknown_key()
        if row.revoked_at is not None:
            raise Forbidden(
                f"the API key {row.key_id} ({row.name}) was revoked on {row.revoked_at}. Use another key.",
                reason_code="key_revoked",
            )
        return _to_key(row)


def create_key(
    ledger: Engine,
    *,
    name: str,
    scopes: Iterable[str],
    now: datetime,
    customer_id: str | None = None,
    actor: str = SYSTEM_ACTOR,
) -> tuple[ApiKey, str]:
    """Make a key; the second value is the token, which is not kept and cannot be shown again.

    customer_id: the one customer it sees. actor: who makes it, as the audit trail names them.

    Raises InvalidInput for an unknown scope, no scope, a name that is
    empty or too long, or a customer that is not on record or comes with another scope than ``read``.
    """
    wanted = tuple(dict.fromkeys(scopes))
    issues = [
        Issue("unknown_scope", "scopes", f"{scope!r} is not a scope.", f"one of {', '.join(SCOPES)}.")
        for scope in wanted
        if scope not in SCOPES
    ]
    if not wanted:
        issues.append(Issue("no_scope", "scopes", "The key has no scope.", f"one of {', '.join(SCOPES)}."))
    if not name.strip() or len(name) > 128:
        issues.append(Issue("bad_name", "name", f"The name is {name!r}.", "1 to 128 characters."))
    if customer_id is not None:
        issues += customer_key_issues(ledger, customer_id, wanted)
    if issues:
        raise InvalidInput(
            "the API key was not made: " + " ".join(str(issue) for issue in issues), issues=issues
        )
    token = new_token(secrets.token_hex(6))
    _, key_id, secret = token.split("_", 2)
    key = ApiKey(key_id, name.strip(), wanted, now.isoformat(), customer_id=customer_id)
    with ledger_transaction(ledger) as connection:
        if customer_id is not None:
            require_customer(connection, customer_id)
        connection.execute(
            sa.insert(API_KEYS).values(
                key_id=key_id,
                name=key.name,
                scopes=" ".join(wanted),
                secret_hash=_secret_hash(secret),
                created_at=key.created_at,
                customer_id=customer_id,
            )
        )
        after = {"name": key.name, "scopes": " ".join(wanted), "customer_id": customer_id}
        change = Change(actor, "created", "api_key", key_id, None, after, "")
        record_changes(connection, [change], now=now)
    return key, token


def list_keys(ledger: Engine) -> list[ApiKey]:
    """All keys, revoked ones too, oldest first."""
    with ledger.connect() as connection:
        rows = connection.execute(sa.select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.key_id))
        return [_to_key(row) for row in rows]


def revoke_key(ledger: Engine, key_id: str, *, now: datetime, actor: str = SYSTEM_ACTOR) -> ApiKey:
    """Revoke a key for good; again is no error and keeps the first date. actor: who does, as the audit trail
    names them. Raises NotFound."""
    with ledger_transaction(ledger) as connection:
        revoked = connection.execute(
            sa.update(API_KEYS)
            .where(API_KEYS.c.key_id == key_id, API_KEYS.c.revoked_at.is_(None))
            .values(revoked_at=now.isoformat())
        ).rowcount
        if revoked:
            before, after = {"revoked": False}, {"revoked": True}
            change = Change(actor, "revoked", "api_key", key_id, before, after, "")
            record_changes(connection, [change], now=now)
        row = connection.execute(sa.select(API_KEYS).where(API_KEYS.c.key_id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no API key {key_id!r}. `ratemill keys list` shows those there are.")
    return _to_key(row)


class Needs:
    """A route's declared scope: a FastAPI dependency, and callable by bare routes as well."""

    def __init__(self, scope: Scope, sees: Sees | None = None) -> None:
        self.scope: Final = scope
        self.sees: Final = sees

    async def __call__(self, request: Request) -> ApiKey:
        state = request.app.state.ratemill
        key = await allow(state, request.headers.get("authorization"), self.scope)
        if key.customer_id is not None:
            await state.in_thread(check_own, state.ledger, key.customer_id, self.sees, request)
        request.state.api_key = key
        return key


class Keeper(Protocol):
    """What ``allow`` needs of the application's state."""

    @property
    def keys(self) -> KeyRing: ...

    async def in_thread(self, work: Callable[..., ApiKey], *arguments: Any) -> ApiKey: ...


async def allow(state: Keeper, authorization: str | None, scope: Scope) -> ApiKey:
    """The key behind the header, if it has the scope. Raises Forbidden."""
    key = state.keys.remembered(authorization)
    if key is None:
        key = await state.in_thread(state.keys.verify, authorization)
    if not key.allows(scope):
        raise Forbidden(
            f"the API key {key.key_id} ({key.name}) has the scopes {', '.join(key.scopes)}; this call "
            f"needs {scope}. An admin can make one: `ratemill keys create --scope {scope}`.",
            reason_code="scope_missing",
        )
    return key


def new_token(key_id: str) -> str:
    """A token with 256 random bits behind ``key_id``."""
    return f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"


def _bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        token = _user_of(token)
    elif scheme.lower() != "bearer":
        token = ""
    if not token.strip():
        raise Forbidden(
            "this call needs an API key. Send the header `Authorization: Bearer rm_...`; "
            "`ratemill keys create` makes a key.",
            reason_code="key_missing",
        )
    return token.strip()


def _user_of(credentials: str) -> str:
    """The user of HTTP Basic (RFC 7617): where `curl -u KEY:` and clients of other products put a key."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _unknown_key() -> Forbidden:
    return Forbidden(
        "this API key is not known here. `ratemill keys list` shows the keys.", reason_code="key_unknown"
    )


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _secret_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_key(row: sa.Row[tuple[object, ...]]) -> ApiKey:
    scopes = tuple(row.scopes.split())
    return ApiKey(row.key_id, row.name, scopes, row.created_at, row.revoked_at, row.customer_id)
