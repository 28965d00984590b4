"""Procfile: the command of the web process, further process types, and the release command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from deployd_cli.presets.facts import Command, Facts, Process
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import command_text

FILE = "Procfile"
WEB, RELEASE = "web", "release"
MOST = 20
"""Process types that are taken over."""

_LINE = re.compile(r"^([A-Za-z0-9_-]+):[ \t]*(.*)$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,20}")
_PORT = re.compile(r"\$PORT\b")


def read(project: Project) -> Facts:
    """Return the command of ``web``, those of other process types, and that of ``release``."""
    lines = dict(_LINE.findall(project.text(FILE)))
    unclear: list[str] = []
    processes = tuple(_processes(lines.items(), unclear))
    release = command_text.parsed(lines.get(RELEASE, ""), FILE)
    before = None
    if release is not None:
        before = release[0]
        if release[1]:
            unclear.append(f"{FILE} sets {', '.join(release[1])} for release: before in [rollout.hooks] does not")
    if (web := command_text.parsed(lines.get(WEB, ""), FILE)) is None:
        return Facts(processes=processes, before=before, unclear=tuple(unclear))
    command, assigned = web
    unclear += _secret(WEB, assigned)
    values = command_text.values(command, assigned)
    return Facts(commands=(command,), values=values, processes=processes, before=before, unclear=tuple(unclear))


def _processes(lines: Iterable[tuple[str, str]], unclear: list[str]) -> Iterator[Process]:
    """Yield the process types; add a sentence about each that is not taken over."""
    names: set[str] = set()
    for written, text in lines:
        if written in (WEB, RELEASE):
            continue
        name, found = written.lower().replace("_", "-"), command_text.parsed(text, FILE)
        if found is None or not _NAME.fullmatch(name) or name in {WEB, *names} or len(names) == MOST:
            unclear.append(f"{FILE} has the process {written}, which is not taken over: this app file does not run it")
            continue
        command, assigned = found
        if _uses_port(command):
            unclear.append(f"{FILE} has the process {written}, which listens on $PORT: give it an app file of its own")
            continue
        names.add(name)
        secrets = command_text.secrets(assigned)
        unclear += _secret(written, assigned)
        yield Process(name, command, {key: value for key, value in assigned.items() if key not in secrets})


def _uses_port(command: Command) -> bool:
    return any(_PORT.search(text) for text in (command.shell, *command.words))


def _secret(process: str, assigned: dict[str, str]) -> Iterator[str]:
    if hidden := command_text.secrets(assigned):
        of = "" if process == WEB else f" for {process}"
        yield (
            f"{FILE} sets {', '.join(hidden)}{of}: put them into environment_files, because others can read an app file"
        )
