"""A server's own way of releasing: a plain systemd service without deployd, whose reload does what its manual says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.host.stage import RELEASES
from tests.servers.server import Server

CURRENT = f"{RELEASES}/current"
"""The symlink to the release, which is moved before each reload."""
TOOLS = "/srv/tools"
"""The directory of scripts and configurations that belong to no release."""
UNIT = "web.service"
NPM = f"{TOOLS}/npm"
PYTHON = f"{TOOLS}/python"
"""The directories of packages from npm and from PyPI."""
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Way:
    """One way of one server."""

    name: str
    title: str
    server: Server
    """The app and its server, as deployd's row has them."""
    service: str
    """The lines of [Service]."""
    settings: str
    """What the page says about them: whatever the documentation recommends for releases."""
    command: tuple[str, ...] = ("systemctl", "reload", UNIT)
    """What releases, when the symlink has been moved."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Files in TOOLS."""
    npm: bool = False
    """True if it needs the packages of package.json."""
    workers: bool = True
    """True if the app says which worker answers, so that the workers that serve can be counted."""
