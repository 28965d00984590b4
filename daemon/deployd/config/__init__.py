"""App files: turns their text into a `deployd.model.app.App`, or raises one clear sentence.

`parse` is pure, `load` reads one file, `capture` environment files, `capture_credentials` credentials, `release` and
`contents` release directories. Nothing here changes a file.
Imports only model, files and errors, so that the daemon and the command validate a file the same way.
"""

from __future__ import annotations

from deployd.config.access import require_runnable
from deployd.config.credentials import capture_credentials, located
from deployd.config.directives import without_effect
from deployd.config.environment_files import capture, doubtful_lines
from deployd.config.gate import doubts
from deployd.config.parse import check_name, is_name, load, parse
from deployd.config.release import directory, irreversible, is_there, missing, programs, resolve_release, siblings
from deployd.config.source import one_line

__all__ = [
    "capture",
    "capture_credentials",
    "check_name",
    "directory",
    "doubtful_lines",
    "doubts",
    "irreversible",
    "is_name",
    "is_there",
    "load",
    "located",
    "missing",
    "one_line",
    "parse",
    "programs",
    "require_runnable",
    "resolve_release",
    "siblings",
    "without_effect",
]
