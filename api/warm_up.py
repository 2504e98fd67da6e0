"""``python -m api.warm_up``: compile every arithmetic kernel now, so that no request waits for it.

Done once after an install or an upgrade (``make`` does it): the compiled code is kept on disk, under
a hash of its sources. The server does it again in the background when it starts, which then takes
tenths of a second.
"""

from __future__ import annotations

import gc
import secrets
import sys

import ingest.warm_up
import rating.warm_up
import rollup.warm_up
from ingest.identity import KEY_BYTES


def warm_up() -> None:
    """Compile the kernels of all rooms, or load them from disk. No store is touched."""
    ingest.warm_up.warm_up(secrets.token_bytes(KEY_BYTES))
    rollup.warm_up.warm_up()
    rating.warm_up.warm_up()


def keep_for_good() -> None:
    """Leave what is in memory now out of garbage collections: a server's frameworks, kernels and routes never
    go, and to look at them again stops all threads for a fifth of a second."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.stdout.write("Compiling the arithmetic kernels, once (about half a minute) ...\n")
    sys.stdout.flush()
    warm_up()
