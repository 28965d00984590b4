"""Where a release goes, and what belongs to it: from the app file, replaced by options of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.errors import Refused
from deployd_cli.delivery.assets import Assets
from deployd_cli.delivery.links import Link, links
from deployd_cli.text.words import text_of


@dataclass(frozen=True, slots=True)
class Target:
    """For one app."""

    app: str
    releases: Path
    """The directory of the releases."""
    shared: tuple[Link, ...] = ()
    builds: bool = False
    """True if the app file has commands that complete a release."""
    assets: Assets | None = None
    """None if the app file names no directory of assets."""
    prune: bool = False
    """True if releases that nothing needs are deleted after a success."""
    current: Path | None = None
    """A symbolic link to lead to the live release."""
    user: str = ""
    """The user of the app; "" for that of the daemon."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], live: str, *, releases: str = "", current: str = "") -> Target:
        """Return the target by the `settings` of the app file; `live` is the release that is live, or "". Pure.

        Raises Refused if there is no directory of releases.
        """
        app = text_of(settings, "app")
        own = str(settings.get("releases") or "")
        if not (releases or own or live):
            raise Refused(
                f"{app} has no live release next to which this one could be; set releases in the app file, or name the"
                " directory with --releases"
            )
        shared, assets = str(settings.get("shared_directory") or ""), str(settings.get("assets") or "")
        link = current or str(settings.get("current") or "")
        return cls(
            app=app,
            releases=Path(releases or own or Path(live).parent),
            shared=links(settings.get("shared") or (), shared),
            builds=bool(settings.get("build")),
            assets=Assets(assets, Path(shared)) if assets else None,
            prune=bool(settings.get("keep")),
            current=Path(link) if link else None,
            user=text_of(settings, "user"),
        )
