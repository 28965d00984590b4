"""App files: text in, `deployd.model.app.App` or one clear sentence out.

`parse` is pure; `load` reads one file; `resolve_release` looks at the release directory. Nothing here
changes anything. Imports model and errors only, so that every front end can validate a file the same way.
"""

from __future__ import annotations

from deployd.config.parse import check_name, load, parse
from deployd.config.release import resolve_release

__all__ = ["check_name", "load", "parse", "resolve_release"]
