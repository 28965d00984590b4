"""What an app has on this machine: unit files, pins, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from deployd.model import unit_name
from deployd.model.app import App
from deployd.plan.goal import Goal
from deployd.state.pins import Pins
from deployd.units.directory import UnitDirectory
from deployd.units.text import Unit, is_steered, marked, sockets
from deployd.units.text.sockets import Placement, Socket

SettingsOf = Callable[[int], App | None]
"""Returns the settings of a generation, if they are known."""


@dataclass(frozen=True, slots=True)
class Present:
    """What an app has on this machine."""

    name: str
    installed: dict[str, str]
    """The unit files of the app as a whole."""
    own: dict[int, str]
    """The unit files of single instances."""
    pins: dict[int, int]
    masked: frozenset[int] = frozenset()
    """Masked instances, which systemd does not start."""
    special: frozenset[int] = frozenset()
    """Instances with drop-ins of their own, one of which may keep it from starting."""
    own_sockets: dict[int, str] = field(default_factory=dict)
    """The unit files of single instances' listening sockets."""
    generation_sockets: dict[int, int] = field(default_factory=dict)
    """The UNIX sockets from which the instances of each generation on the disk accept, if the app is steered."""
    steerable: bool = False
    """True if this machine can steer connections."""
    draining: frozenset[int] = frozenset()
    """Pinned instances that finish their jobs, and end then."""

    def steers(self, app: App) -> bool:
        """True if each instance of `app` is to have sockets of its own. An app that has some stays steered where this
        machine can steer no longer."""
        return app.steered and (self.steerable or self.has_steered_units)

    @property
    def has_steered_units(self) -> bool:
        """True if instances have sockets of their own, or have had some until now."""
        return bool(is_steered(self.installed, self.name))

    def units_of_own_sockets(self) -> list[str]:
        """Return the installed units of the sockets of instances and generations."""
        names = (unit_name.instance_socket(self.name, ""), unit_name.instance_socket_starter(self.name, ""))
        own = (unit_name.instance_socket(self.name, number) for number in self.own_sockets)
        return [
            *(unit for unit in self.installed if unit in names or unit_name.generation_socket_number(self.name, unit)),
            *own,
        ]

    def changes_routing(self, app: App) -> bool:
        """True if instances that are there have shared sockets and `app` has not, or the other way round."""
        return self.has_steered_units if not self.steers(app) else bool(self.sockets())

    def has_own_sockets(self, number: int, otherwise: bool = False) -> bool:
        """True if an instance was passed sockets of its own, or would be; `otherwise` if it has no unit file yet."""
        text = self.own.get(number, self.installed.get(unit_name.template(self.name)))
        return otherwise if text is None else sockets.has_own(self.name, text)

    def generation_socket(self, app: App, goal: Goal, settings_of: SettingsOf = lambda _: None) -> int | None:
        """Return the UNIX socket for instances of `goal`: that of the instances that it adopts, or one of its own.

        If all instances may be down on the way there, it is that of the newest generation that runs: connections that
        wait there could not be moved to another one. So it must be one that `settings_of` a generation says is alike.
        """
        if not self.steers(app) or not app.has_unix:
            return None
        if goal.generation in self.generation_sockets:
            return self.generation_sockets[goal.generation]
        there = self.generation_sockets.keys() & self.pins.values()
        if alike := there & goal.same:
            return self.generation_sockets[max(alike)]
        before = settings_of(max(there)) if there and not goal.floor else None
        if before is not None and (before.unix, before.socket) == (app.unix, app.socket):
            return self.generation_sockets[max(there)]
        return max(1, goal.generation)

    def accepted(self) -> frozenset[int]:
        """Return the UNIX sockets from which instances accept."""
        made = self.generation_sockets.keys() & self.pins.values()
        return frozenset(self.generation_sockets[generation] for generation in made)

    def sockets(self) -> tuple[Socket, ...]:
        """Return the installed shared sockets."""
        found = (sockets.parse(name, text) for name, text in self.installed.items())
        return sockets.in_order(self.name, found)

    def socket(self, name: str) -> Socket:
        """Return the installed shared socket of that name."""
        return sockets.parse(name, self.installed.get(name, ""))

    def place(self, app: App) -> Placement:
        """Return the placement of the addresses of `app`. Raises Refused."""
        if self.steers(app):
            return Placement((), None, self.sockets())
        listen = [item.address for item in app.listen]
        return sockets.place(self.name, self.sockets(), listen, later=bool(self.installed))

    def to_open(self, app: App) -> tuple[Socket, ...]:
        """Return the shared sockets that `app` needs and that are not installed, or without their service: a daemon may
        have been killed before it had enabled them. Raises Refused."""
        placement = self.place(app)
        begun = (item for item in placement.kept if not self.installed.keys() >= {*sockets.files(self.name, item.name)})
        return (*begun, *(() if placement.new is None else (placement.new,)))

    def held(self, number: int) -> frozenset[str]:
        """Return the shared sockets that an instance was passed or would be passed."""
        return sockets.held(self.name, self.own.get(number, self.installed.get(unit_name.template(self.name), "")))

    def in_use(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the shared sockets that these instances hold."""
        return frozenset(name for number in numbers for name in self.held(number))

    def has(self, units: Iterable[Unit]) -> bool:
        """True if all these units are installed as they are."""
        own = {unit_name.instance(self.name, number): text for number, text in self.own.items()}
        own |= {unit_name.instance_socket(self.name, number): text for number, text in self.own_sockets.items()}
        return all((self.installed | own).get(unit.name) == unit.text for unit in units)

    def reach(self) -> int:
        """Return the highest number of an instance that the installed app unit wants."""
        text = self.installed.get(unit_name.app_unit(self.name), "")
        return max(unit_name.instance_numbers(self.name, text), default=0)


def read(name: str, units: UnitDirectory, pins: Pins, *, steerable: bool) -> Present:
    """Read what an app has on this machine. Raises StateError."""
    accepting = {number: marked(pins.files(name, number)) for number in pins.generations(name)}
    return Present(
        name,
        units.installed(name),
        units.own(name),
        pins.held(name),
        units.masked(name) | units.unfit(name).keys(),
        units.special(name),
        units.own_sockets(name),
        {generation: socket for generation, socket in accepting.items() if socket is not None},
        steerable,
        frozenset(pins.drains.read(name)),
    )
