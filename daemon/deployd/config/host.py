"""deployd.toml: the settings of this host that are not those of an app."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from deployd.config import trust, values
from deployd.config.source import Problem, Source, Table, kind, one_line, printable
from deployd.errors import InvalidFile
from deployd.model.app_name import name_problem
from deployd.model.host_drain import RolloutDrain

LARGEST = 64 * 1024
LONGEST_WAIT = 600.0


def load_host(path: Path) -> RolloutDrain:
    """Read and check the file, which may be missing. Raises InvalidFile."""
    file = printable(str(path))
    try:
        data = trust.read(path, LARGEST + 1)
    except FileNotFoundError:
        return RolloutDrain()
    except Problem as problem:
        raise InvalidFile(one_line(f"{file}: {problem}")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidFile(one_line(f"{file}: cannot be read: {reason}")) from None
    if len(data) > LARGEST:
        raise InvalidFile(f"{file}: is larger than 64 KiB; it has one table, [host]")
    try:
        return parse_host(data.decode(), file)
    except UnicodeDecodeError:
        raise InvalidFile(f"{file}: is not UTF-8 text; save it as UTF-8") from None


def parse_host(text: str, file: str) -> RolloutDrain:
    """Return the settings that `text` describes. Raises InvalidFile with one sentence."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidFile(one_line(f"{file}: is not valid TOML: {error}; correct it")) from None
    top = Table(Source(file, text), (), raw)
    host = top.table("host")
    default = RolloutDrain()
    found = RolloutDrain(
        apps=host.get("drain", _apps, default.apps),
        wait=host.get("drain_wait", values.duration(0, LONGEST_WAIT), default.wait),
    )
    host.finish()
    top.finish({"drain": "[host]", "drain_wait": "[host]"})
    return found


def _apps(raw: Any) -> frozenset[str] | None:
    """Convert true, false, or the names of apps."""
    if isinstance(raw, bool):
        return None if raw else frozenset()
    if not isinstance(raw, list):
        raise Problem(f'must be true, false or an array of apps, not {kind(raw)}; write true, or ["shop", "blog"]')
    for name in raw:
        if not isinstance(name, str):
            raise Problem(f'has {kind(name)}; write the names of apps in quotes, as in ["shop", "blog"]')
        if problem := name_problem(name):
            raise Problem(f"{problem}; write the names of apps")
    return frozenset(raw)
