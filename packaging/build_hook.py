"""Puts what `deployd setup` installs into the wheel, and the manual pages into the source archive. Run by hatchling."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PURGE = "packaging/debian/deployd.postrm"


class CustomBuildHook(BuildHookInterface):
    """Adds files to an archive. A wheel that pip installs as editable has none: it uses the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        checkout = Path(self.root)
        sys.path[:0] = [str(checkout / "daemon"), str(checkout / "cli")]
        from deployd_cli.setup import places, sources

        found, missing = sources.read(checkout, places.system().sources)
        if missing:
            self.app.abort(f"no manual page {', '.join(missing)}: install {sources.CONVERTER}")
        found[PURGE] = (checkout / PURGE).read_bytes()
        if self.target_name == "sdist":
            found = {name: contents for name, contents in found.items() if not (checkout / name).exists()}
        # Copies, because a file of the checkout is included once only.
        self._copies = tempfile.TemporaryDirectory()  # removed with this object, after the build
        for name, contents in found.items():
            copy = Path(self._copies.name, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(contents)
            place = name if self.target_name == "sdist" else f"deployd_cli/setup/files/{name}"
            build_data["force_include"][str(copy)] = place
