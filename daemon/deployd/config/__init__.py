"""App files: text in, `deployd.model.app.App` or one clear sentence out.

`parse` is pure; `load` reads one file; `release` and `contents` look at release directories. Nothing here changes
anything. Imports model and errors only, so that every front end can validate a file the same way.
"""

from __future__ import annotations

from deployd.config.parse import check_name, is_name, load, parse
from deployd.config.release import irreversible, is_there, missing, programs, resolve_release, siblings
from deployd.config.source import one_line

__all__ = [
    "check_name",
    "irreversible",
    "is_name",
    "is_there",
    "load",
    "missing",
    "one_line",
    "parse",
    "programs",
    "resolve_release",
    "siblings",
]
