"""Releases for tests, as they are read."""

from __future__ import annotations

from deployd_cli.presets import catalog
from deployd_cli.presets.detection import Proposal, proposals
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import facts_of

CATALOG = catalog.load()


def project(files: dict[str, str] | None = None, *names: str, programs: tuple[str, ...] = ()) -> Project:
    """Return a release with these files, and with further `names` and compiled `programs` that are not read."""
    texts = files or {}
    return Project(frozenset({*texts, *names, *programs}), texts, frozenset(programs))


def proposed(found: Project) -> list[Proposal]:
    return proposals(found, facts_of(found), CATALOG.presets.values())
