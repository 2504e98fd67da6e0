"""What an explanation of a rated line says, as values and as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from rating.money import grouped_words
from rating.tier_rows import TierRow

_STEPS_OF_NUMBERS: Final = frozenset(
    {"unit_conversion", "free_units", "minimum_maximum", "spent", "commitment", "adjustment"}
)
"""Steps whose text holds numbers and words of ours only, no names."""


_WORDING: Final = frozenset({"currency_digits", "counted"})
"""What only the text for people needs."""


@dataclass(frozen=True, slots=True)
class ExplanationStep:
    """One step of ``rating/steps.py``: what was done, and the number it left (text)."""

    step: str
    text: str
    result: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The derivation of one line. ``amount`` is exact to 12 digits; what the tiers sum to differs from it
    by what the steps after the price model did. counted: what ``event_count`` counts, in words. inputs: all
    it was computed from, for ``python -m rating.verify``."""

    line_id: str
    contract_id: str
    plan: str
    charge: str
    period: str
    dimensions: Mapping[str, str]
    event_count: int
    steps: tuple[ExplanationStep, ...]
    tiers: tuple[TierRow, ...]
    amount: str
    amount_minor: int
    billed: str
    input_hash: str
    inputs: Mapping[str, Any]
    currency_digits: int
    counted: str = "events"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; decimals as text."""
        return {name: value for name, value in asdict(self).items() if name not in _WORDING}

    def to_text(self) -> str:
        """The same for people, one fact a line, numbers grouped."""
        lines = [f"Line {self.line_id}: {self.charge}, {self.period}", f"  price: {self.plan}"]
        if self.dimensions:
            lines.append("  for: " + ", ".join(f"{name}={value}" for name, value in self.dimensions.items()))
        lines.append(f"  from {self.event_count:,} {self.counted}")
        for step in self.steps:
            text = grouped_words(step.text) if step.step in _STEPS_OF_NUMBERS else step.text
            lines.append(f"  {step.step:<16} {text} -> {grouped_words(step.result)}")
            if step.step == "price_model":
                lines.extend(f"    {row.to_text(self.currency_digits)}" for row in self.tiers)
        return "\n".join([*lines, f"  billed           {grouped_words(self.billed)}"])
