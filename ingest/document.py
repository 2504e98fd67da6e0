"""Documents people write (meters, price plans, contracts, customers): read exactly, refused clearly.

YAML and JSON numbers are read as ``Decimal`` from their text, so ``0.1`` in a price is one tenth
and no binary float ever exists. Every broken field becomes an ``Issue`` that names
the path, all in one answer; only when the fields are right are the rules between them asked, again
all in one answer. Nothing is half-saved.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final, TypeVar

import orjson
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema

from ingest.errors import InvalidDocument, Issue, UnreadableBody
from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE

_INTEGER_DIGITS_MAX: Final = QUANTITY_DIGITS - QUANTITY_SCALE
_EXACT: Final = Context(prec=2 * QUANTITY_DIGITS + QUANTITY_SCALE)
"""The default context cuts to 28 digits without a word."""
_FINEST: Final = Decimal(1).scaleb(-QUANTITY_SCALE)
_PLAIN_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_SURELY_JSON_CHARACTERS: Final = 100_000
"""A text that is JSON for so long is not tried as YAML, which is read some hundred times as slowly."""
_KEY_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"


def _to_exact_decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ValueError(f"{value!r} is not an exact decimal number; write it as text, like '12.50'")
    if isinstance(value, str) and "_" in value:
        raise ValueError(f"{value!r} is not a decimal number; write it without _, like '1000'")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number, like '12.50'") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(number.adjusted()) > QUANTITY_DIGITS:
        raise ValueError(f"{value!r} is out of range")
    if exponent < -QUANTITY_SCALE and number != number.quantize(_FINEST, context=_EXACT):
        raise ValueError(f"{value!r} has more than {QUANTITY_SCALE} fraction digits")
    if number and number.adjusted() >= _INTEGER_DIGITS_MAX:
        raise ValueError(f"{value!r} has more than {_INTEGER_DIGITS_MAX} integer digits")
    return plain(number)


def plain(number: Decimal) -> Decimal:
    """The same number without exponent and without trailing zeros after the point."""
    if number == number.to_integral_value():
        return number.quantize(Decimal(1), context=_EXACT)
    return number.normalize(_EXACT)


def decimal_text(number: Decimal) -> str:
    """How a decimal is written everywhere: no exponent, no trailing zeros (``12.5``, ``1000``)."""
    return f"{plain(number):f}"


ExactDecimal = Annotated[
    Decimal,
    BeforeValidator(_to_exact_decimal),
    PlainSerializer(decimal_text, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^-?\d{1,26}(\.\d{1,12})?$"}, {"type": "number"}],
            "description": "An exact decimal number, best written as text.",
        }
    ),
]
"""A number a person wrote: up to 26 integer and 12 fraction digits, kept exactly."""


class Document(BaseModel):
    """Base of every document model: unknown fields are refused, values are immutable."""

    # Nothing is stripped: texts are compared with those of events, which keep every character.
    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=4096)


Model = TypeVar("Model", bound=Document)


def read_document(body: bytes | str) -> dict[str, Any]:
    """Parse one YAML or JSON document; numbers stay exact. Raises UnreadableBody."""
    documents = read_documents(body)
    if len(documents) != 1:
        raise UnreadableBody(
            f"the body holds {len(documents)} documents; exactly one is wanted here.",
            reason_code="not_one_document",
        )
    return documents[0]


def read_documents(body: bytes | str) -> list[dict[str, Any]]:
    """Parse a YAML stream (``---`` between documents), a JSON object or an array of objects.

    Raises UnreadableBody, which names line and column where the text has them.
    """
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the document is not UTF-8 text: {error}") from error
    if not text.strip():
        raise UnreadableBody("the document is empty.", reason_code="empty_body")
    try:
        parsed = _parse_brackets(text) if text.lstrip()[0] in "{[" else _parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableBody(f"the document cannot be read: {error}") from error
    if len(parsed) == 1 and isinstance(parsed[0], list):
        parsed = parsed[0]
    for part in parsed:
        if not isinstance(part, dict):
            raise UnreadableBody("a document must be a mapping of names to values.")
    return parsed


def _parse_brackets(text: str) -> list[Any]:
    """JSON, or else YAML in flow style (``{name: gold, price: 2.50}``). What is neither is refused in the
    words of the parser that came further."""
    try:
        return [json.loads(text, parse_float=Decimal, parse_constant=str, object_pairs_hook=_unique_keys)]
    except json.JSONDecodeError as error:
        if error.pos > _SURELY_JSON_CHARACTERS:
            raise
        not_json = error
    try:
        return _parse_yaml(text)
    except (yaml.scanner.ScannerError, yaml.parser.ParserError) as not_yaml:
        further = not_yaml.problem_mark is None or not_yaml.problem_mark.index < not_json.pos
        raise not_json if further else not_yaml from None


def _parse_yaml(text: str) -> list[Any]:
    return [part for part in yaml.load_all(text, Loader=_ExactLoader) if part is not None]


def validate_document(
    model: type[Model],
    data: Any,
    *,
    what: str,
    rules: Callable[[Model], Iterable[Issue]] = lambda _: (),
) -> Model:
    """Build ``model`` from ``data`` and apply ``rules``; raises InvalidDocument with every issue.

    what: what is being saved, for the message (``price plan 'gold'``).
    """
    try:
        document = model.model_validate(data)
    except ValidationError as error:
        raise InvalidDocument(what, _issues_of(error)) from None
    issues = list(rules(document))
    if issues:
        raise InvalidDocument(what, issues)
    return document


def canonical_json(document: Document) -> str:
    """The one text of a document: sorted names, no defaults dropped, decimals as text."""
    return orjson.dumps(document.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()


def document_hash(document: Document) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _issues_of(error: ValidationError) -> Sequence[Issue]:
    issues = []
    for item in error.errors(include_url=False):
        path = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(str(part) for part in item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        expected = _EXPECTED.get(item["type"], "what the document's schema says (`ratemill schema`)")
        if item["type"].startswith("date_"):
            message, expected = f"{item['input']!r} is no date", "a date, like 2026-11-01"
        issues.append(Issue(item["type"], path, message[:1].upper() + message[1:] + ".", expected + "."))
    return issues


_EXPECTED: Final = {
    "missing": "this field, which has no default",
    "extra_forbidden": "one of the documented field names; this one is unknown",
    "value_error": "a value within the limits",
}


class _ExactLoader(yaml.SafeLoader):
    """SafeLoader that reads numbers exactly and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, _no_name(key), key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, _twice(key), key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """YAML 1.1 reads 010 as 8 and 1:30 as 90, YAML 1.2 and people do not: neither is guessed."""
    text = str(loader.construct_scalar(node))
    if not _PLAIN_INTEGER.fullmatch(text):
        raise yaml.constructor.ConstructorError(None, None, _ambiguous(text), node.start_mark)
    return int(text)


def _no_name(key: object) -> str:
    """YAML reads 5 and yes as a number and a truth value, also where a name should stand; and in flow style
    the comma of 1,5 ends the number."""
    return (
        f"{key!r} is no name of a field. Write a name in quotes ('5') if it is no plain word, and a fraction "
        "with a point (1.5)"
    )


def _twice(key: object) -> str:
    return f"the field {key!r} is given twice"


def _ambiguous(text: str) -> str:
    return (
        f"{text} means different numbers to different readers of YAML. Write a number as plain decimal "
        f"digits (like 10 or 1000), and a text in quotes ('{text}')"
    )


def _construct_decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal | str:
    text = str(loader.construct_scalar(node))
    if "_" in text:
        raise yaml.constructor.ConstructorError(None, None, _ambiguous(text), node.start_mark)
    try:
        return Decimal(text)
    except InvalidOperation:
        return text  # .inf, .nan, sexagesimals: left as text, the field's own rule refuses them


_ExactLoader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_ExactLoader.add_constructor("tag:yaml.org,2002:float", _construct_decimal)
_ExactLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(_twice(key))
        seen[key] = value
    return seen
