"""The one way this house compiles a kernel: numba, cached on disk, without the GIL.

numba's cache is keyed by file and function name, not by flags; with one set of flags in one place
two variants of a kernel can never share an entry. It also notices changes of a kernel's own file
only, while kernels call kernels of other files: an upgrade could go on running old arithmetic. So
the cache folder is named by a hash of every file that holds kernels, and a change of any of them
starts an empty one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from numba import config, njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_HOUSE: Final = Path(__file__).parent.parent
_ROOMS: Final = ("ingest", "rollup", "rating")


def kernel_files() -> list[Path]:
    """Every source file that holds a kernel."""
    files = (path for room in _ROOMS for path in sorted((_HOUSE / room).glob("*.py")))
    return [path for path in files if b"@compiled" in path.read_bytes()]


def _cache_folder() -> str:
    digest = hashlib.sha256()
    for path in kernel_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return str(Path(__file__).parent / "__pycache__" / f"kernels-{digest.hexdigest()[:16]}")


config.CACHE_DIR = _cache_folder()  # type: ignore[attr-defined]


def compiled(function: Kernel) -> Kernel:
    """Compile ``function`` on first call. Its plain Python form stays at ``.py_func``."""
    return cast(Kernel, njit(cache=True, nogil=True)(function))
