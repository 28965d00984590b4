"""Whether the kernel can steer, and the maps of each app, which outlive the daemon."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from deployd.errors import SteeringError
from deployd.reuseport.idle import Idle
from deployd.reuseport.steering import Steering, app_of
from deployd.sockdiag.inet_diag import Diag


@dataclass(slots=True)
class Kernel:
    """Shared by all apps. `store` and `unstore` are the file descriptor store of systemd (sd_notify(3))."""

    obstacle: str
    """Why this machine cannot steer, from support.probe(); empty if it can."""
    store: Callable[[str, int], None]
    unstore: Callable[[str], None]
    inherited: dict[str, int] = field(default_factory=dict)
    """Name to the descriptor of a map that an earlier daemon stored."""
    diag: Diag = field(default_factory=Diag)
    _kept: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._kept = set(self.inherited)

    @property
    def steers(self) -> bool:
        return not self.obstacle

    def steering(self, app: str) -> Steering | Idle:
        """Return the steering of `app`, with the maps that an earlier daemon stored or new ones."""
        if self.obstacle:
            return Idle(self.obstacle)
        mine = {name: fd for name, fd in self.inherited.items() if app_of(name) == app}
        for name in mine:
            del self.inherited[name]
        try:
            return Steering(app, mine)
        except SteeringError as error:
            return Idle(str(error))

    def keep(self, app: str, wanted: Mapping[str, int]) -> None:
        """Store these maps of `app`, by name, for the next daemon, and remove others of it from the store."""
        mine = {name for name in self._kept if app_of(name) == app}
        for name in mine - wanted.keys():
            self.unstore(name)
        for name in wanted.keys() - mine:
            self.store(name, wanted[name])
        self._kept -= mine
        self._kept |= wanted.keys()

    def forget(self, app: str) -> None:
        """Remove all maps of an app from the store, because it is removed."""
        self.keep(app, {})

    def drop_inherited(self, apps: Collection[str]) -> None:
        """Remove stored maps of other apps than these: they no longer exist. Maps of these are kept until they use
        them."""
        for name in [name for name in self.inherited if app_of(name) not in apps]:
            self.unstore(name)
            self._kept.discard(name)
            os.close(self.inherited.pop(name))
