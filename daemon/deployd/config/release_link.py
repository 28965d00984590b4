"""Paths of an app file that lead through the link which `release` follows, such as ``/srv/shop/current``.

The link leads to one release at a time, and each generation has its own: what is reached through the link is of another
release after a rollback, with --release, and while instances of two generations run. Paths are taken from the release
instead: ``bin/serve`` rather than ``/srv/shop/current/bin/serve``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deployd.config.source import one_line
from deployd.errors import Refused
from deployd.files.walk import LinkOwners, Step, walk
from deployd.model.app import App
from deployd.model.pace import HookKind

CONVENTION = "current"
"""The name that deployment tools give to the link."""
LOADED_FROM = frozenset(
    {
        *("BUNDLE_GEMFILE", "CLASSPATH", "GEM_HOME", "GEM_PATH", "LD_LIBRARY_PATH", "NODE_PATH"),
        *("PERL5LIB", "PYTHONHOME", "PYTHONPATH", "RUBYLIB"),
    }
)
"""Environment variables from which programs load code."""
LONGEST_LINE = 256
"""Bytes of a ``#!`` line that the kernel reads."""
SCRIPT = 4096
"""Bytes of a script that are searched."""


@dataclass(frozen=True, slots=True)
class _Links:
    """The links on the path of `release` that move with it: as they are written, their inodes, what they lead to."""

    paths: tuple[str, ...]
    inodes: frozenset[tuple[int, int]]
    targets: tuple[str, ...]

    def named_in(self, text: str) -> str:
        """Return the link that a text names, or ""."""
        return next((path for path in self.paths if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", text)), "")

    def lead_to(self, path: str) -> bool:
        """True if the directory of an absolute path is reached through one of the links, and is below its target."""
        passed: list[bool] = []

        def note(step: Step) -> None:
            passed.append(step.is_symlink and (step.info.st_dev, step.info.st_ino) in self.inodes)

        try:
            with walk(os.path.dirname(path), note) as found:  # noqa: PTH120 - as text
                return any(passed) and any(f"{found.path}/".startswith(f"{target}/") for target in self.targets)
        except OSError:
            return False  # the check of the program reports it


def require_own_programs(app: App, release: str) -> tuple[str, ...]:
    """Return sentences about what may be of another release than `release`. Raises Refused for what certainly is.

    Blocks, so it must not run in the event loop.
    """
    links = _links(app.release)
    if not links.paths:
        return ()
    for key, program in _programs(app):
        if program.startswith("/") and links.lead_to(program):
            raise _refused(app, links, key, program, _own(links, key, program))
        head = beginning(program if program.startswith("/") else f"{release}/{program}")
        words = head[2:].split("\n", 1)[0].split() if head.startswith("#!") else []
        if words and words[0].startswith("/") and links.lead_to(words[0]):
            how = f'run it as "{_relative(links, words[0])} {_relative(links, program)}", both taken from the release'
            raise _refused(app, links, f"the #! line of {program}", words[0], how)
    for name, value in app.environment:
        if name in LOADED_FROM and (link := links.named_in(value)):
            how = f'the program runs in its release: write "{value.replace(f"{link}/", "").replace(link, ".")}"'
            raise _refused(app, links, f"environment.{name}", value, how)
    return tuple(_doubts(app, release, links))


def _doubts(app: App, release: str, links: _Links) -> Iterator[str]:
    """Yield sentences about values that name a link: whether they matter depends on the program."""
    texts = [
        *((f"exec[{number}]", word) for number, word in enumerate(app.exec) if number),
        *((f"environment.{name}", value) for name, value in app.environment),
        *(("environment_files", path) for path in app.environment_files),
        *((f"[service] {key}", value) for key, values in app.service for value in values),
    ]
    program = app.exec[0] if app.exec[0].startswith("/") else f"{release}/{app.exec[0]}"
    head = beginning(program)
    if head.startswith("#!"):
        texts.append((f"the script {app.exec[0]}", head))
    for text in app.environment_contents:
        texts += [(f"{line.partition('=')[0]} in environment_files", line) for line in text.splitlines()]
    for where, text in texts:
        if link := links.named_in(text):
            yield one_line(
                f"{where} names {link}, which leads to another release after a rollback; write the path from the"
                " release, or use DEPLOYD_RELEASE of the environment"
            )


def _links(configured: str) -> _Links:
    """Return the links on the `configured` path that lead to `release`, or have the name that deployment tools use."""
    parts = configured.rstrip("/").split("/")
    paths, inodes, targets = [], set(), []
    for length in range(3, len(parts) + 1):  # links in / move with no release
        path = "/".join(parts[:length])
        leads_to = os.path.realpath(path)
        if os.path.islink(path) and (leads_to == os.path.realpath(configured) or parts[length - 1] == CONVENTION):  # noqa: PTH114
            info = os.lstat(path)
            paths.append(path)
            inodes.add((info.st_dev, info.st_ino))
            targets.append(leads_to)
    return _Links(tuple(paths), frozenset(inodes), tuple(targets))


def _programs(app: App) -> Iterator[tuple[str, str]]:
    """Yield the programs that run in a release, with their keys."""
    yield "exec", app.exec[0]
    if app.gate.probe is not None and app.gate.probe.command:
        yield "gate.probe.command", app.gate.probe.command[0]
    if app.drain.command:
        yield "drain.command", app.drain.command[0]
    if app.pace.analysis is not None:
        yield "rollout.analysis.command", app.pace.analysis.command[0]
    for kind in HookKind:
        yield from ((f"rollout.hooks.{kind}", command[0]) for command in app.pace.hooks.of(kind))
    for key, values in app.service:
        if key.startswith("Exec"):
            yield from ((f"[service] {key}", words[0]) for words in map(_words, values) if words)


def _words(command: str) -> list[str]:
    """Return the words of a command line of systemd, without the prefixes of its program."""
    return command.lstrip("-@:+!|").replace('"', "").split()


def beginning(program: str) -> str:
    """Return the beginning of a file, or "" if it cannot be read."""
    try:
        with walk(program, LinkOwners()) as found:
            if not found.is_file:
                return ""
            with os.fdopen(found.reopen(), "rb") as file:
                return file.read(SCRIPT).decode("latin-1")
    except OSError:
        return ""


def _own(links: _Links, key: str, program: str) -> str:
    path = _relative(links, program)
    if key.startswith("[service]"):  # where systemd takes no path from the release
        return f"it runs in its release: write /bin/sh -c 'exec {path}'"
    return f'write "{path}", which is taken from the release of each generation'


def _relative(links: _Links, path: str) -> str:
    """Return the path from the release, as far as the path shows it."""
    named: Iterable[str] = (link for link in reversed(links.paths) if path.startswith(f"{link}/"))
    return path.removeprefix(next(iter(named), "")).lstrip("/") if path.startswith("/") else path


def _refused(app: App, links: _Links, where: str, value: str, how: str) -> Refused:
    return Refused(
        one_line(
            f"{where} of {app.name} leads through {links.paths[-1]} ({value}), which is another release after a"
            f" rollback; {how}"
        )
    )
