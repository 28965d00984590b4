"""What differs between the settings of two generations, by the keys of the app file. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.model.app import App
from deployd.model.timer import Timer

SECRET_DIRECTIVES = frozenset({"Environment", "SetCredential", "SetCredentialEncrypted"})
"""Directives whose values are not shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key with two values; None stands for a key that is not set."""

    key: str
    """As in ``rollout.max_surge``, ``service.MemoryMax`` or ``environment.RAILS_ENV``."""
    before: Any
    after: Any
    secret: bool = False
    """The values must not be shown."""


def changes(before: App, after: App) -> tuple[Change, ...]:
    """Return what differs, in the order of the keys. A learned timeout and the contents of releases are left out."""
    old, new = _settings(before), _settings(after)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return tuple(Change(key, old.get(key), new.get(key), _is_secret(key)) for key in keys)


def _is_secret(key: str) -> bool:
    table, _, name = re.sub(r"^process\.[^.]*\.", "", key).partition(".")
    return table in ("environment", "contents") or (table == "service" and name in SECRET_DIRECTIVES)


def _settings(app: App) -> dict[str, Any]:
    found: dict[str, Any] = {
        "release": app.release,
        "exec": app.exec,
        "listen": [item.address for item in app.listen],
        "instances": app.instances,
        "overlap": app.overlap,
        "user": app.user,
        "group": app.group,
        "mode": app.mode,
        "routing": app.routing,
        "warm_up": app.warm_up,
        "environment_files": app.environment_files,
        "contents.environment_files": app.environment_contents,
        **{f"environment.{key}": value for key, value in app.environment},
        **{f"contents.{path}": digest for path, digest in app.credentials},
        **{f"service.{key}": _single(values) for key, values in app.service},
        **{f"socket.{key}": _single(values) for key, values in app.socket},
        **dict(_flat("stop", dataclasses.asdict(app.stop))),
        **dict(_flat("drain", dataclasses.asdict(app.drain))),
        **dict(_flat("gate", dataclasses.asdict(app.gate))),
        **dict(_flat("rollout", dataclasses.asdict(app.pace))),
        "after": app.after,
        **dict(_of_processes(app)),
    }
    for timer in app.timers:
        found |= {f"process.{timer.name}.{key}": value for key, value in _of_timer(app, timer).items()}
    if found.pop("gate.learned"):
        del found["gate.timeout"]
    return {key: value for key, value in found.items() if value not in (None, "", (), [])}


def _of_processes(app: App) -> Iterator[tuple[str, Any]]:
    """Yield the settings of the process types that are their own."""
    for item in app.processes:
        for key, value in _settings(item).items():
            if key != "release" and not key.startswith("rollout."):
                yield f"process.{item.process}.{key}", value


def _of_timer(app: App, timer: Timer) -> dict[str, Any]:
    """Return the settings of a timer without those that it has from the app."""
    own = {
        "user": timer.user if timer.user != app.user else None,
        "group": timer.group if timer.group != app.group else None,
        **{f"environment.{key}": value for key, value in timer.environment if (key, value) not in app.environment},
        **{f"service.{key}": _single(values) for key, values in timer.service if (key, values) not in app.service},
        "stop.signal": timer.stop_signal,
        "stop.timeout": timer.stop_timeout,
    }
    names = ("schedule", "exec", "persistent", "randomized_delay", "timeout")
    return {**{name: getattr(timer, name) for name in names}, **own}


def _flat(table: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a table and of those within it. An amount is a number or a percentage."""
    for key, value in raw.items():
        if not isinstance(value, dict) or value.keys() == {"value", "percent"}:
            yield f"{table}.{key}", _plain(value)
        else:
            yield from _flat(f"{table}.{key}", value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"value", "percent"}:
        return f"{value['value']}%" if value["percent"] else value["value"]
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _single(values: tuple[str, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)
