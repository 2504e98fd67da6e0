"""Hashes of documents, taken without giving other threads a turn.

Python lets another thread run while it hashes more than 2,047 bytes at once, and has to wake it for that. A
document takes a few microseconds; beside a thread that is at work, giving the turn away and getting it back
took 33, and hashing in pieces that are too short for that 10 (4 and 6 alone). A billing run hashes each
document twice while another thread drafts the next ones.
"""

from __future__ import annotations

import hashlib
from typing import Final

_PIECE_BYTES: Final = 2_000


def sha256_hex(*texts: str) -> str:
    """SHA-256 of the texts one after the other, in UTF-8, in hex."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode()
        if len(content) <= _PIECE_BYTES:
            digest.update(content)
            continue
        for start in range(0, len(content), _PIECE_BYTES):
            digest.update(content[start : start + _PIECE_BYTES])
    return digest.hexdigest()
