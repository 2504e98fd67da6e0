"""A quantity made of several meters: a small language, read into a tree and worked out in fractions.

    formula: gb * hours
    formula: max(0, calls - 1000 * seats)
    formula: divide(bytes, 1073741824, 3, up) * "hours-used"

Meters by their ids (in double quotes what is no plain name), decimal numbers, ``+ - * /``, parentheses,
``min`` and ``max`` of two or more, ``round(x, digits, rounding)`` and ``divide(x, y, digits, rounding)`` with
rounding ``half_up``, ``up`` or ``down``. ``tier(x, 100, 200)`` is the number of the tier that holds x: 0 for
nothing, 1 up to and with 100, 2 up to and with 200, 3 above; its bounds are numbers and rise.

``x / y`` is ``divide(x, y, 12, half_up)``: a quotient is the one thing that does not end by itself, so it is
always rounded, and says how. Everything else is exact; the result is rounded half-up to the 12 digits of a
quantity. A meter that counted nothing is 0.

>>> evaluate(parse_formula("divide(a, 3, 2, up) + 1"), {"a": Decimal(10)})
Fraction(217, 50)
>>> evaluate(parse_formula("max(tier(a, 100, 200), tier(b, 5))"), {"a": Decimal(100), "b": Decimal(6)})
Fraction(2, 1)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE
from rating.unrateable import Unrateable

FORMULA_LENGTH_MAX: Final = 2000
_DEPTH_MAX: Final = 40
ROUNDINGS: Final = ("half_up", "up", "down")
FUNCTIONS: Final = ("min", "max", "round", "divide", "tier")
_LIMIT: Final = 10**QUANTITY_DIGITS
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|\"(?P<quoted>[^\"]*)\"|(?P<sign>[-+*/(),]))"
)


class FormulaError(Exception):
    """The text is no formula. position: of the character where, from 1."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal number of the text."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class MeterValue:
    """What a meter counted in the period."""

    meter_id: str


@dataclass(frozen=True, slots=True)
class Operation:
    """name: + - * min max round divide tier. digits, rounding: of ``round`` and ``divide``."""

    name: str
    arguments: tuple[Expression, ...]
    digits: int = QUANTITY_SCALE
    rounding: str = "half_up"


Expression = Number | MeterValue | Operation


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


@lru_cache(maxsize=10_000)
def parse_formula(text: str) -> Expression:
    """The tree of a formula. Raises FormulaError for the first thing that is wrong."""
    if len(text) > FORMULA_LENGTH_MAX:
        raise FormulaError(
            FORMULA_LENGTH_MAX + 1, f"the formula is longer than {FORMULA_LENGTH_MAX} characters"
        )
    parser = _Parser(list(_tokens(text)))
    tree = parser.sum(0)
    parser.expect_end()
    return tree


def formula_meters(text: str | None) -> tuple[str, ...]:
    """The meters of a formula, each once, as they appear; none for no formula or one that cannot be read
    (which is said when a plan is checked)."""
    if text is None:
        return ()
    try:
        return tuple(dict.fromkeys(_meters(parse_formula(text))))
    except FormulaError:
        return ()


def _meters(tree: Expression) -> Iterator[str]:
    if isinstance(tree, MeterValue):
        yield tree.meter_id
    elif isinstance(tree, Operation):
        for argument in tree.arguments:
            yield from _meters(argument)


def formula_quantity(text: str, values: Mapping[str, Decimal]) -> Decimal:
    """What the formula comes to, as a quantity. Raises Unrateable for a division by zero and for what is
    past 26 integer digits."""
    exact = evaluate(parse_formula(text), values)
    scaled = _rounded(exact, QUANTITY_SCALE, "half_up") * 10**QUANTITY_SCALE
    if abs(scaled) >= _LIMIT:
        raise Unrateable(
            f"the formula {text} comes to {exact}, too much to keep.", reason_code="amount_too_large"
        )
    return Decimal(f"{int(scaled)}E-{QUANTITY_SCALE}")


def evaluate(tree: Expression, values: Mapping[str, Decimal]) -> Fraction:
    """What the tree comes to, exactly; a meter that is not in ``values`` counted nothing."""
    if isinstance(tree, Number):
        return Fraction(tree.value)
    if isinstance(tree, MeterValue):
        return Fraction(values.get(tree.meter_id, 0))
    first, *rest = (evaluate(argument, values) for argument in tree.arguments)
    if tree.name == "min":
        return min(first, *rest)
    if tree.name == "max":
        return max(first, *rest)
    if tree.name == "tier":
        return Fraction(0 if first <= 0 else 1 + sum(first > bound for bound in rest))
    if tree.name == "round":
        return _rounded(first, tree.digits, tree.rounding)
    (second,) = rest
    if tree.name == "+":
        return first + second
    if tree.name == "-":
        return first - second
    if tree.name == "*":
        return first * second
    if not second:
        raise Unrateable("the formula divides by zero.", reason_code="formula_divides_by_zero")
    return _rounded(first / second, tree.digits, tree.rounding)


def is_sum_of_meters(tree: Expression) -> bool:
    """Whether the tree adds and subtracts meters, each times or by a number: then what it comes to for two
    spans of time is the sum of both, as far as its meters' are.

    >>> is_sum_of_meters(parse_formula("input + 4 * output / 1000"))
    True
    >>> is_sum_of_meters(parse_formula("max(0, calls - 1000)"))
    False
    """
    if isinstance(tree, MeterValue):
        return True
    if isinstance(tree, Number):
        return not tree.value
    numbers = [not any(True for _ in _meters(argument)) for argument in tree.arguments]
    sums = [is_sum_of_meters(argument) for argument in tree.arguments]
    if tree.name in {"+", "-"}:
        return all(sums)
    if tree.name == "*":
        return (numbers[0] and sums[1]) or (sums[0] and numbers[1])
    by_a_number = tree.name == "divide" and tree.digits == QUANTITY_SCALE and numbers[1]
    return by_a_number and sums[0]


def _rounded(number: Fraction, digits: int, rounding: str) -> Fraction:
    """To so many digits; a credit is rounded like the debit it cancels."""
    steps, rest = divmod(abs(number) * 10**digits, 1)
    if (rounding == "up" and rest) or (rounding == "half_up" and 2 * rest >= 1):
        steps += 1
    return Fraction(steps if number >= 0 else -steps, 10**digits)


def tree_to_json(tree: Expression) -> Any:
    """The tree as plain JSON: a number as text, ``{"meter": id}``, or ``[name, argument, ...]``, of ``round``
    and ``divide`` with digits and rounding last."""
    if isinstance(tree, Number):
        return f"{tree.value:f}"
    if isinstance(tree, MeterValue):
        return {"meter": tree.meter_id}
    rounded = [tree.digits, tree.rounding] if tree.name in {"round", "divide"} else []
    return [tree.name, *(tree_to_json(argument) for argument in tree.arguments), *rounded]


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise FormulaError(start + 1, f"{text[start]!r} has no meaning here")
        kind = found.lastgroup or ""
        yield _Token(kind, found[kind], found.start(kind) + (0 if kind == "quoted" else 1))
        position = found.end()
    yield _Token("end", "", end + 1)


def _check_bounds(name: _Token, bounds: Sequence[Expression]) -> None:
    """The bounds of ``tier`` are plain numbers above 0, each above the one before it."""
    numbers = [bound.value for bound in bounds if isinstance(bound, Number)]
    rising = all(low < high for low, high in pairwise([Decimal(0), *numbers]))
    if len(numbers) < len(bounds) or not rising:
        raise FormulaError(name.position, "the bounds of tier are numbers above 0, each above the one before")


class _Parser:
    """Reads tokens from left to right; a method a rule, each gives the tree of what it read."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.place = 0

    def sum(self, depth: int) -> Expression:
        tree = self.product(depth)
        while sign := self.take("+", "-"):
            tree = Operation(sign.text, (tree, self.product(depth)))
        return tree

    def product(self, depth: int) -> Expression:
        tree = self.factor(depth)
        while sign := self.take("*", "/"):
            tree = Operation("divide" if sign.text == "/" else "*", (tree, self.factor(depth)))
        return tree

    def factor(self, depth: int) -> Expression:
        token = self.tokens[self.place]
        if depth > _DEPTH_MAX:
            raise FormulaError(token.position, f"there are more than {_DEPTH_MAX} levels of parentheses")
        if self.take("-"):
            return Operation("-", (Number(Decimal(0)), self.factor(depth + 1)))
        if self.take("("):
            tree = self.sum(depth + 1)
            self.expect(")")
            return tree
        self.place += 1
        if token.kind == "number":
            if len(token.text.replace(".", "")) > QUANTITY_DIGITS:
                raise FormulaError(token.position, f"a number has at most {QUANTITY_DIGITS} digits")
            return Number(Decimal(token.text))
        if token.kind == "name" and self.tokens[self.place].text == "(":
            return self.call(token, depth + 1)
        if token.kind in {"name", "quoted"}:
            return MeterValue(token.text)
        said = "the formula ends" if token.kind == "end" else f"{token.text!r} stands"
        raise FormulaError(token.position, f"{said} where a meter, a number or ( is wanted")

    def call(self, name: _Token, depth: int) -> Expression:
        if name.text not in FUNCTIONS:
            raise FormulaError(
                name.position, f"{name.text!r} is no function; there are {', '.join(FUNCTIONS)}"
            )
        self.expect("(")
        arguments = [self.sum(depth)]
        wanted = {"round": 1, "divide": 2}.get(name.text)
        while (wanted is None or len(arguments) < wanted) and self.take(","):
            arguments.append(self.sum(depth))
        if len(arguments) < (wanted or 2):
            raise FormulaError(
                name.position, f"{name.text} needs {'two or more' if wanted is None else wanted}"
            )
        digits, rounding = QUANTITY_SCALE, "half_up"
        if wanted is not None:
            self.expect(",")
            digits = self.digits()
            self.expect(",")
            rounding = self.rounding()
        if name.text == "tier":
            _check_bounds(name, arguments[1:])
        self.expect(")")
        return Operation(name.text, tuple(arguments), digits, rounding)

    def digits(self) -> int:
        token = self.tokens[self.place]
        if token.kind != "number" or not token.text.isdigit() or int(token.text) > QUANTITY_SCALE:
            raise FormulaError(
                token.position, f"the number of digits is a whole number from 0 to {QUANTITY_SCALE}"
            )
        self.place += 1
        return int(token.text)

    def rounding(self) -> str:
        token = self.tokens[self.place]
        if token.text not in ROUNDINGS:
            raise FormulaError(token.position, f"the rounding is one of {', '.join(ROUNDINGS)}")
        self.place += 1
        return token.text

    def take(self, *signs: str) -> _Token | None:
        """The next token if it is one of the signs."""
        token = self.tokens[self.place]
        if token.kind != "sign" or token.text not in signs:
            return None
        self.place += 1
        return token

    def expect(self, sign: str) -> None:
        token = self.tokens[self.place]
        if self.take(sign) is None:
            said = "the formula ends" if token.kind == "end" else f"{token.text!r} stands"
            raise FormulaError(token.position, f"{said} where {sign!r} is wanted")

    def expect_end(self) -> None:
        token = self.tokens[self.place]
        if token.kind != "end":
            raise FormulaError(token.position, f"{token.text!r} stands behind the end of the formula")
