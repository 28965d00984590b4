"""Procfile: the command of the web process."""

from __future__ import annotations

import re

from deployd_cli.presets.facts import Facts
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import command_text

FILE = "Procfile"
_LINE = re.compile(r"^([A-Za-z0-9_-]+):[ \t]*(.*)$", re.MULTILINE)


def read(project: Project) -> Facts:
    """Return the command of ``web``. Other processes are only mentioned."""
    lines = dict(_LINE.findall(project.text(FILE)))
    unclear = [
        f"{FILE} has the process {name}, which is not a web server: this app file does not run it"
        for name in lines
        if name not in ("web", "release")
    ]
    if "release" in lines and (release := command_text.parsed(lines["release"], FILE)):
        shown = " ".join(release[0].words)
        unclear.append(f'{FILE} has the release command "{shown}"; before in [rollout.hooks] runs such commands')
    if (web := command_text.parsed(lines.get("web", ""), FILE)) is None:
        return Facts(unclear=tuple(unclear))
    command, assigned = web
    if hidden := command_text.secrets(assigned):
        unclear.append(
            f"{FILE} sets {', '.join(hidden)}: put them into environment_files, because others can read an app file"
        )
    return Facts(commands=(command,), values=command_text.values(command, assigned), unclear=tuple(unclear))
