"""Every exception Ratemill raises on purpose, and the value that describes bad input.

    RatemillError
    |-- InvalidInput        the caller sent something wrong; ``issues`` says what and where
    |   |-- UnreadableBody  a whole request body or file cannot be decoded at all
    |   `-- InvalidDocument a meter, price plan, contract or customer document breaks a rule
    |-- NotFound            a key names nothing
    |-- Conflict            the request contradicts what is already on record
    |-- Forbidden           the API key is missing, revoked, or lacks the scope
    |-- Busy                as much is under way as may be; nothing was taken, send it again
    |-- StoreUnavailable    a store cannot be opened or reached; nothing was changed
    `-- BrokenState         two records of ours disagree; the run stops and nothing is written

Bad *records* inside a readable batch are not exceptions: they are rows with a ``reason_code``
(see ``ingest/validate.py``), so that one bad line never costs the good ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong in something a caller sent.

    reason_code: stable snake_case word that programs may match on.
    pointer: where it is, as a path in the document (``charges[0].price.tiers[1].up_to``) or ``""``.
    message: one sentence naming the value found.
    expected: one sentence saying what would be right.
    """

    reason_code: str
    pointer: str
    message: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        return f"{where}{self.message} Expected: {self.expected} [{self.reason_code}]"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class RatemillError(Exception):
    """Base of every deliberate error. ``reason_code`` is stable, ``str(error)`` is for people."""

    reason_code = "error"

    def __init__(self, message: str, *, reason_code: str | None = None) -> None:
        super().__init__(message)
        if reason_code is not None:
            self.reason_code = reason_code


class InvalidInput(RatemillError):
    """The caller sent something wrong; ``issues`` lists all of it."""

    reason_code = "invalid_input"

    def __init__(self, message: str, *, reason_code: str | None = None, issues: Sequence[Issue] = ()) -> None:
        super().__init__(message, reason_code=reason_code)
        self.issues = tuple(issues)


class UnreadableBody(InvalidInput):
    """A request body or file cannot be decoded at all, so no record in it was looked at."""

    reason_code = "unreadable_body"


class InvalidDocument(InvalidInput):
    """A meter, price plan, contract or customer document breaks a rule; nothing was saved."""

    reason_code = "invalid_document"

    def __init__(self, what: str, issues: Sequence[Issue]) -> None:
        lines = "\n".join(f"  - {issue}" for issue in issues)
        super().__init__(f"{what} was not saved:\n{lines}", issues=issues)
        self.what = what


class NotFound(RatemillError):
    """A key names nothing."""

    reason_code = "not_found"


class Conflict(RatemillError):
    """The request contradicts what is already on record; the record stays as it is."""

    reason_code = "conflict"


class Forbidden(RatemillError):
    """The API key is missing, unknown, revoked or lacks the scope."""

    reason_code = "forbidden"


class Busy(RatemillError):
    """As much is under way as may be. Nothing of this request was taken; it can be sent again."""

    reason_code = "queue_full"


class StoreUnavailable(RatemillError):
    """A store cannot be opened or reached. Nothing was changed."""

    reason_code = "store_unavailable"


class BrokenState(RatemillError):
    """Two records of ours disagree. The run stops; nothing is written on top of it."""

    reason_code = "broken_state"
