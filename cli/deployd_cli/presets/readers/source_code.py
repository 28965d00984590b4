"""What the source code shows: whether a program takes the socket of systemd, notifies, or reads $PORT."""

from __future__ import annotations

import re

from deployd_cli.presets.facts import Facts, Found
from deployd_cli.presets.project import Project

_SUFFIXES = (".py", ".js", ".cjs", ".mjs", ".ts", ".go", ".rs", "Caddyfile")
_MARKS = {
    "takes-socket": re.compile(
        r"LISTEN_FDS|\bfd:\s*3\b|fileno=3\b|\bfd/3\b|NewFile\(3\b|activation\.Listeners\w*\(|ListenFd::from_env|listen_fds\(|\bfrom_raw_fd\(3\b"
    ),
    "notifies": re.compile(r"NOTIFY_SOCKET|READY=1|SdNotify\w*\(|sd_notify|systemd-notify"),
    "reads-port": re.compile(r"""env(?:iron)?\.PORT\b|["']PORT["']"""),
    "handles-sigterm": re.compile(r"SIGTERM"),
}
_HEALTH = re.compile(r"""["'](/(?:_status|_health|healthz?|livez|readyz|ping|status|up))/?["']""")


def read(project: Project) -> Facts:
    """Return the first file that shows each property, and the path of a health check."""
    marks: dict[str, str] = {}
    values = {}
    for file, text in project.sources(*_SUFFIXES):
        for mark, pattern in _MARKS.items():
            if mark not in marks and pattern.search(text):
                marks[mark] = file
        if "probe" not in values and (health := _HEALTH.search(text)):
            values["probe"] = Found(health[1], file)
    return Facts(values=values, marks=marks)
