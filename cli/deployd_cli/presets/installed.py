"""What is installed on this machine: programs that presets look for, and files of deployd that servers load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployd_cli.presets.facts import Facts, Found
from deployd_cli.presets.preset import Guess, Preset

INTEGRATIONS = tuple(Path(prefix, "share/deployd/integrations") for prefix in ("/usr", "/usr/local"))
"""Where the files that are loaded into servers may be installed."""


def integrations(*own: Path) -> Path:
    """Return the directory of the files that are loaded into servers, perhaps one of a user's `own`; the first one if
    none exists."""
    directories = (*own, *INTEGRATIONS)
    return next((directory for directory in directories if directory.is_dir()), directories[0])


def with_programs(facts: Facts, preset: Preset) -> Facts:
    """Return the facts with the programs of the machine for which the release has no value."""
    found = {name: path for name, guess in preset.guesses.items() if (path := _installed(guess))}
    return replace(facts, values={**{name: Found(path, path) for name, path in found.items()}, **facts.values})


def _installed(guess: Guess) -> str:
    """Return the path of a program; "" if it is not installed."""
    for pattern in guess.look_for:
        path = Path(pattern)
        if matches := sorted(path.parent.glob(path.name)):
            return str(matches[-1])
    return ""
