"""Keeps the start of the command short; imports next to nothing itself.

Measured: of the time that ``deployd status`` takes, nine tenths are imports and their tidying up at exit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Import in this block as if `modules` were not installed.

    For modules that others import on the off chance, and say how to do without: typer before 0.20 draws in
    rich for a markup that we do not use, asyncio the whole of OpenSSL for connections that we do not make.
    What is imported already stays, and afterwards everything can be imported again.
    """
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there means: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
