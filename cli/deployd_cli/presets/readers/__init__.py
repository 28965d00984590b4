"""Readers of the files of a release. Pure and total: whatever the files say, they return facts and never raise."""

from __future__ import annotations

from deployd_cli.presets.facts import Facts, combined
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import binaries, javascript, php, pm2, procfile, python, ruby, source_code

READERS = (procfile.read, pm2.read, python.read, javascript.read, ruby.read, php.read, binaries.read, source_code.read)
"""In the order of precedence: what starts the app now wins over what its source code suggests."""


def facts_of(project: Project) -> Facts:
    """Return everything that the readers find."""
    return combined(reader(project) for reader in READERS)
