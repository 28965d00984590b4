"""Gemfile, Gemfile.lock, the routes of Rails, and whether Puma has a configuration."""

from __future__ import annotations

import re

from deployd_cli.presets.facts import Facts, Found, Package
from deployd_cli.presets.project import Project

_LOCKED = re.compile(r"^ {4}([A-Za-z0-9_.-]+) \(([0-9][\w.]*)[^)\n]*\)$", re.MULTILINE)
_GEM = re.compile(
    r"""^[ \t]*gem[ \t(]+["']([A-Za-z0-9_.-]+)["'](?:,[ \t]*["'][^0-9"'\n]*([0-9][\w.]*)["'])?""", re.MULTILINE
)
_HEALTH = re.compile(r"""get[ (]+["']([\w/-]+)["'][^\n]{0,100}rails/health#show""")


def read(project: Project) -> Facts:
    """Return the gems, those of Gemfile.lock with their versions, the path of Rails' health check, and which of these
    files there are."""
    found: dict[str, Package] = {}
    for file, pattern in (("Gemfile.lock", _LOCKED), ("Gemfile", _GEM)):
        for name, version in pattern.findall(project.text(file)):
            found.setdefault(name, Package(f"ruby:{name.lower()}", version, file))
    values = {}
    if health := _HEALTH.search(project.text(routes := "config/routes.rb")):
        values["probe"] = Found(f"/{health[1].lstrip('/')}", routes)
    for key, file in (("gemfile", "Gemfile"), ("puma_config", "config/puma.rb")):
        if file in project.names:
            values[key] = Found(file, file)
    return Facts(packages=tuple(found.values()), values=values)
