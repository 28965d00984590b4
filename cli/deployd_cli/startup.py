"""Keeps the start of the command short; imports next to nothing itself.

Measured: of the time that ``deployd status`` takes, nine tenths are imports and their tidying up at exit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str, spare_daemon: bool = True) -> Iterator[None]:
    """Import in this block as if `modules` were not installed.

    For what others import on the off chance, and can do without: typer before 0.17 draws in rich for a markup
    that we do not use, its shutil two compressors, asyncio OpenSSL, dbus-next GLib. What is imported here does
    without for good, so the daemon, which starts once and may want any of it, is spared.
    """
    daemon = spare_daemon and sys.argv[1:2] == ["daemon"]
    hidden = [] if daemon else [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there means: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
