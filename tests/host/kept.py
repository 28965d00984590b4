"""Directories of the cache that take a network to make, such as packages: concurrent test runs make each once."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def kept(target: Path, make: Callable[[Path], None], stamp: str = "", wanted: str = "") -> Path:
    """Return `target`, a directory that `make` fills. With `stamp`, the name of a file in it, it is made anew unless
    that file has the text `wanted`, which is written there last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = target / stamp
        if made.is_dir() if not stamp else made.exists() and made.read_text() == wanted:
            return target
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.new.") as temporary:
            new = Path(temporary, "all")
            new.mkdir()
            make(new)
            if stamp:
                (new / stamp).write_text(wanted)
            new.rename(target)
    return target
