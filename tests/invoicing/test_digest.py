"""Goal: hashing in pieces is hashing."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from invoicing.digest import sha256_hex


@given(st.lists(st.text(max_size=50), max_size=4), st.integers(0, 300))
def test_pieces_give_the_hash_of_the_whole(texts: list[str], times: int) -> None:
    """Also where a piece ends inside a letter of several bytes."""
    longer = [text * times for text in texts]
    assert sha256_hex(*longer) == hashlib.sha256("".join(longer).encode()).hexdigest()
