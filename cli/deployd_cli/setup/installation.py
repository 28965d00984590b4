"""deployd setup: installs the files, updates them, and removes what it has installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployd import __version__
from deployd.errors import Refused
from deployd_cli.setup import contents, record, requirements, services, sources
from deployd_cli.setup.executor import Executor
from deployd_cli.setup.places import Scope
from deployd_cli.setup.plan import Action, Step, plan
from deployd_cli.setup.record import Record

PURGE = Path("packaging/debian/deployd.postrm")
"""The script of the .deb that removes history and units of apps; to any other shell it is the same."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What setup has done."""

    steps: tuple[Step, ...]
    first: bool = False
    missing: tuple[str, ...] = ()
    """Manual pages that were not installed."""
    hidden: Path | None = None
    """A directory that keeps other users from the command."""
    lingers: bool = True
    """False if the service manager ends with the last login of its user."""

    def files(self, *actions: Action) -> tuple[str, ...]:
        return tuple(step.destination for step in self.steps if step.action in actions)


def install(scope: Scope, executor: Executor) -> Outcome:
    """Install or update, and start or restart the daemon. Raises DeploydError."""
    base = _base(scope)
    requirements.require_modules()
    code = requirements.code()
    if not scope.user:
        requirements.require_trusted(code)
    found, missing = sources.read(base, scope.sources)
    wanted = contents.files(scope, found, services.version(), contents.interpreted(sys.executable, user=scope.user))
    kept = executor.path(scope.record)
    known = record.load(kept) or Record()
    destinations = tuple(file.destination for file in wanted)
    requirements.require_unowned(destinations)
    steps = plan(wanted, executor.present({*destinations, *known.files}), frozenset(known.files))
    made = executor.directories([*scope.empty, *_parents((str(scope.record), *destinations))])
    directories = (*known.directories, *made)
    # Recorded first, so that nothing is forgotten if this is interrupted. Running it again completes it.
    record.save(kept, Record(known.version, tuple(sorted({*destinations, *known.files})), directories))
    executor.apply(steps)
    first = not known.version
    services.run(services.after_install(first, services.booted(), user=scope.user))
    record.save(kept, Record(__version__, destinations, directories))
    hidden = None if scope.user else requirements.hidden(code)
    return Outcome(steps, first, tuple(missing), hidden, not scope.user or requirements.lingers(os.geteuid()))


def remove(scope: Scope, executor: Executor, *, purge: bool) -> Outcome:
    """Stop the daemon and remove what `install` has installed; with `purge` what the daemon has made, as well.

    Raises DeploydError.
    """
    known = record.load(executor.path(scope.record))
    if known is None:
        raise Refused("deployd setup has installed nothing here, so there is nothing to remove")
    requirements.require_unowned(known.files)
    steps = plan((), executor.present(known.files), frozenset(known.files))
    running = services.booted()
    services.run(services.before_removal((step.destination for step in steps), running, user=scope.user))
    executor.apply(steps)
    services.run(services.after_removal(running, user=scope.user))
    if purge:
        services.run([("sh", str(_base(scope) / PURGE), "purge")])
    executor.apply([Step(Action.REMOVE, str(scope.record))])
    executor.remove_empty(known.directories)
    return Outcome(steps)


def _base(scope: Scope) -> Path:
    if (base := sources.base()) is None:
        installed = "the package that has installed this deployd has installed"
        if scope.user:
            raise Refused(f"{installed} its user units, too; run systemctl --user enable --now deployd")
        raise Refused(f"{installed} its system files, too")
    return base


def _parents(destinations: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(Path(destination).parent) for destination in destinations))
