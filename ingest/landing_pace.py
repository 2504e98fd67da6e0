"""How fast the log may fill while the engine takes a block in: as fast as the engine empties it.

A full log stops every sender. If room came back only when a whole block has landed, all of them would stand
still for most of a second and then run again; so while a block is under way, what may wait behind it grows
as the block is expected to land.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROWS_AT_ONCE: Final = 100_000
"""What may wait behind a block as soon as it begins."""
ROWS_MEASURED_MIN: Final = 100_000
"""A block with fewer rows says little about the next: most of its time is the same for any size."""


@dataclass(slots=True)
class LandingPace:
    """Instants are seconds of any clock that only goes forward. block_rows: of a whole block, which is what
    may wait behind one at its end. rows: of the block under way, 0 when there is none."""

    block_rows: int
    rows: int = 0
    _began: float = 0.0
    _rows_a_second: float = 0.0

    def begin(self, rows: int, *, now: float) -> None:
        """A block is under way."""
        self.rows, self._began = rows, now

    def end(self, *, landed: bool, now: float) -> None:
        """It has landed or failed."""
        if landed and self.rows >= ROWS_MEASURED_MIN:
            self._rows_a_second = self.rows / max(now - self._began, 0.001)
        self.rows = 0

    def seconds_to_wait(self, rows_behind: int, *, now: float) -> float:
        """Until one more may join so many that wait behind the block under way; 0 when it may now.

        Nobody waits when no block is under way, while the engine's speed is not known yet, or longer than the
        block was expected to take.
        """
        if not (self.rows and self._rows_a_second):
            return 0.0
        expected = self.rows / self._rows_a_second
        share = (rows_behind - ROWS_AT_ONCE) / self.block_rows
        return max(0.0, self._began + expected * min(share, 1.0) - now)
