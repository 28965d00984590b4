"""A preset's template and values to the text of an app file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployd.errors import InvalidFile, Refused
from deployd.model import advice
from deployd.model.address import is_near
from deployd_cli.presets.facts import Content, Facts, Process
from deployd_cli.presets.preset import Preset
from deployd_cli.text.words import printable

if TYPE_CHECKING:
    import jinja2


SINGLE = frozenset({"beat", "clock", "cron", "scheduler", "timer"})
"""Names of process types of which two at a time would do everything twice."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user has asked for, or its defaults."""

    app: str
    release: str
    listen: str
    instances: int
    user: str
    """"" for root, and in user mode."""
    integrations: str = "/usr/share/deployd/integrations"
    """The directory of the files of deployd that are loaded into servers."""
    in_user_mode: bool = False
    secrets: str = "/etc/default"
    """The directory that an example of environment_files names."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of an app file, and the names of the values that are in it."""

    text: str
    used: frozenset[str]


def render(preset: Preset, wishes: Wishes, facts: Facts, reason: str, directories: Sequence[Path]) -> Rendered:
    """Return the app file.

    Raises InvalidFile for a wrong template, and Refused for a wish that cannot be fulfilled.
    """
    import jinja2

    name = f"{preset.name}/app.toml.j2"
    values = _Values({key: guess.default for key, guess in preset.guesses.items()})
    values.update({key: found.content for key, found in facts.values.items()})
    context = {
        "app": wishes.app,
        "release": wishes.release,
        "listen": wishes.listen,
        "bind": bind_of(wishes.listen),
        "instances": wishes.instances,
        "user": wishes.user,
        "in_user_mode": wishes.in_user_mode,
        "secrets": wishes.secrets,
        "deployd": advice.deployd(),
        "integrations": wishes.integrations,
        "preset": preset,
        "reason": reason,
        "values": values,
        "command": _argv(list(values.get("command") or ()), str(values.get("shell") or "")),
        "processes": [_process(item) for item in facts.processes],
        "before": None if facts.before is None else _argv(facts.before.words, facts.before.shell),
        "before_file": "" if facts.before is None else facts.before.file,
        "packages": {package.key: package.version for package in facts.packages},
        "marks": facts.marks,
        "found": frozenset(facts.values),
    }
    try:
        text = _environment(directories).get_template(name).render(context)
    except jinja2.TemplateError as error:
        raise InvalidFile(f"the template {name} of preset {preset.name} is wrong: {printable(str(error))}") from None
    _require_possible(preset, wishes, text, name)
    return Rendered(text, frozenset(values.used))


def _argv(words: Sequence[str], shell: str) -> list[str]:
    """Return the argv of a command that was found: exec takes bare names of programs from the release, and no path
    that leaves it."""
    if shell:
        return ["/bin/sh", "-c", shell]
    odd = words and ("/" not in words[0] or ".." in words[0].split("/") or words[0].endswith("/"))
    return ["/usr/bin/env", *words] if odd else list(words)


def _process(of: Process) -> dict[str, Any]:
    """Return what the template says of a process type."""
    return {
        "name": of.name,
        "file": of.command.file,
        "exec": _argv(of.command.words, of.command.shell),
        "environment": of.environment,
        "single": of.name in SINGLE,
    }


class _Values(dict[str, Content]):
    """Values that note which of them a template has used."""

    def __init__(self, values: Mapping[str, Content]) -> None:
        super().__init__(values)
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> Content:
        self.used.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return super().get(key, default)


def bind_of(listen: str) -> str:
    """Return an address with its host; a port alone is one of [::], as systemd opens it."""
    return f"[::]:{listen}" if listen.isdecimal() else listen


def _environment(directories: Sequence[Path]) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(directories),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(toml=toml, comment=printable)
    environment.tests.update(at_least=_at_least, startingwith=str.startswith)
    return environment


def toml(value: Any) -> str:
    """Return text as a TOML string, a list as an array and a mapping as an inline table."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(key))} = {toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    text = str(value).encode("utf-8", "replace").decode()
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text, re.ASCII) else toml(text)


def _at_least(version: str, wanted: int) -> bool:
    """True if the first number of a version is `wanted` or higher."""
    major = version.partition(".")[0]
    return major.isdecimal() and int(major) >= wanted


def _require_possible(preset: Preset, wishes: Wishes, text: str, template: str) -> None:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(f"the template {template} makes no valid TOML: {error}; correct it") from None
    unix = wishes.listen.startswith("/")
    if unix and raw.get("mode") == "port":
        raise Refused(
            f"preset {preset.name} gives each instance a port of its own, which clients reach by a TCP address only;"
            " name one, such as --listen 127.0.0.1:8080"
        )
    probe = raw.get("gate", {}).get("probe", {})
    host = bind_of(wishes.listen).rpartition(":")[0].strip("[]")
    if "http" in probe and not preset.serves_all and (unix or not is_near(host)):
        raise Refused(
            f"preset {preset.name} probes instances at an address that the loopback device reaches, because its server"
            " takes one socket only; name one, such as --listen 127.0.0.1:8080 or --listen 8080"
        )
