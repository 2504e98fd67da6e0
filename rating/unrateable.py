"""The one error of pricing: usage that no price fits. It becomes an unrated row, and holds its period."""

from __future__ import annotations

from ingest.errors import RatemillError


class Unrateable(RatemillError):
    """This quantity has no price in this plan; ``reason_code`` goes on the unrated row."""

    reason_code = "unrateable"
