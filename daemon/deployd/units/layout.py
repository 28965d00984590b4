"""Which unit files a goal wants, from those that are there: what new instances get, and what the others keep.

The template belongs to the goal. Every other instance keeps what it was started with, in a unit file of its own where
the template says something else: settings of its generation, and the sockets that it is passed. Which sockets an
instance holds is read from its unit file; so whoever takes over from a daemon that was killed sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from deployd.model import unit_name
from deployd.model.app import App, Routing
from deployd.plan.goal import Goal
from deployd.units.render import Unit, probe, sockets, steered
from deployd.units.render.sockets import Placement, Socket


class Render(Protocol):
    """`render.units` of one daemon: where its state is, and what its command is called."""

    def __call__(
        self,
        app: App,
        instances: int,
        *,
        listening: tuple[Socket, ...],
        held: frozenset[str],
        probe_sockets: bool,
        steer: bool,
        generation_socket: int | None,
    ) -> tuple[Unit, ...]: ...


SettingsOf = Callable[[int], App | None]
"""Generation to its settings, if they are known."""


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
    """Instances that systemd will not start."""
    own_sockets: dict[int, str] = field(default_factory=dict)
    """The unit files of single instances' listening sockets."""
    generation_sockets: dict[int, int] = field(default_factory=dict)
    """The UNIX sockets from which the instances of each generation on the disk accept, if the app is steered."""
    steerable: bool = False
    """Can this machine steer?"""

    def steers(self, app: App) -> bool:
        """Whether each instance has sockets of its own. What is installed decides: an address cannot have both."""
        installed = steered.is_steered(self.installed, self.name)
        return app.routing is Routing.STEERED and self.steerable if installed is None else installed

    def generation_socket(self, app: App, goal: Goal) -> int | None:
        """Return the UNIX socket for instances of `goal`: that of the instances that it adopts, or one of its own."""
        if not self.steers(app) or not steered.has_unix(app):
            return None
        if goal.generation in self.generation_sockets:
            return self.generation_sockets[goal.generation]
        alike = goal.same.intersection(self.pins.values(), self.generation_sockets)
        return self.generation_sockets[max(alike)] if alike else max(1, goal.generation)

    def accepted(self) -> frozenset[int]:
        """Return the UNIX sockets from which instances accept."""
        made = self.generation_sockets.keys() & self.pins.values()
        return frozenset(self.generation_sockets[generation] for generation in made)

    def sockets(self) -> tuple[Socket, ...]:
        found = (sockets.parse(name, text) for name, text in self.installed.items())
        return sockets.in_order(self.name, found)

    def place(self, app: App) -> Placement:
        """Where the addresses of `app` are to be. Raises Refused."""
        if self.steers(app):
            return Placement((), None, ())
        return sockets.place(self.name, self.sockets(), [item.address for item in app.listen])

    def held(self, number: int) -> frozenset[str]:
        """The sockets that an instance was passed, or would be."""
        return sockets.held(self.name, self.own.get(number, self.installed.get(unit_name.template(self.name), "")))

    def in_use(self, numbers: Iterable[int]) -> frozenset[str]:
        """The sockets that these instances hold."""
        return frozenset(name for number in numbers for name in self.held(number))

    def has(self, units: Iterable[Unit]) -> bool:
        """Is all of that there as it is?"""
        own = {unit_name.instance(self.name, number): text for number, text in self.own.items()}
        own |= {unit_name.instance_socket(self.name, number): text for number, text in self.own_sockets.items()}
        return all((self.installed | own).get(unit.name) == unit.text for unit in units)

    def reach(self) -> int:
        """The highest instance number that the installed umbrella starts."""
        text = self.installed.get(unit_name.app_unit(self.name), "")
        return max(unit_name.instance_numbers(self.name, text), default=0)


@dataclass(frozen=True, slots=True)
class Layout:
    """The unit files that a goal wants."""

    units: tuple[Unit, ...]
    """Of the app as a whole."""
    alone: tuple[Unit, ...]
    """Of single instances, which would read otherwise in the template."""
    stale: tuple[str, ...]
    """Units that are there and no longer needed: of single instances, and what an older generation had besides."""
    avoid: frozenset[int]
    """Instances that are not the goal's as they are: their unit is an older generation's, or has a socket that is to
    close. New instances must not get their numbers."""
    placement: Placement
    late: frozenset[str]
    """Sockets that new instances are passed though the goal does not want them."""
    holders: frozenset[int]
    """Pinned instances that hold sockets which the goal does not want."""

    @property
    def files(self) -> tuple[Unit, ...]:
        """All, in the order in which they are to be written. What an instance has now is known by the template until
        it has a unit of its own."""
        return (*self.alone, *self.units)

    def unit(self, name: str) -> Unit:
        return next(unit for unit in self.units if unit.name == name)


def layout(app: App, goal: Goal, there: Present, settings_of: SettingsOf, make: Render, *, closing: bool) -> Layout:
    """The units for `goal`, whose settings are `app`. Raises Refused for addresses that it cannot have.

    While instances of older generations live, new ones are passed the sockets of those as well: an address that is to
    close is served to its end. `closing` is the second pass, without them.
    """
    name, mine = app.name, goal.same | {goal.generation}
    placement = there.place(app)
    wanted = frozenset(item.name for item in placement.wanted)
    older = [number for number, made in there.pins.items() if made not in mine and made < goal.generation]
    going = frozenset(item.name for item in placement.going)
    late = frozenset[str]() if closing else there.in_use(older) & going
    settings = {
        number: app if generation in mine else settings_of(generation) for number, generation in there.pins.items()
    }
    probed = any(item is not None and probe.has_socket(item) for item in settings.values())
    listening = sockets.in_order(name, (*placement.wanted, *placement.going))

    steer, socket = there.steers(app), there.generation_socket(app, goal)

    def rendered(its: App, instances: int, held: frozenset[str], generation_socket: int | None) -> tuple[Unit, ...]:
        return make(
            its,
            instances,
            listening=listening,
            held=held,
            probe_sockets=probed,
            steer=steer,
            generation_socket=generation_socket,
        )

    @cache  # most of the pinned instances have the same
    def template(its: App, held: frozenset[str], generation_socket: int | None) -> str:
        units = rendered(its, 1, held, generation_socket)
        return next(unit.text for unit in units if unit.name == unit_name.template(name))

    accepting = {number: there.generation_sockets.get(made) for number, made in there.pins.items()}
    text = template(app, wanted | late, socket)
    own = {
        number: its_text
        for number, its in settings.items()
        if its is not None
        and (its_text := template(its, there.held(number) or wanted | late, accepting[number])) != text
    }
    tcp = frozenset(number for number, its in settings.items() if its is None or steered.has_tcp(its))
    opened = _opened(there, tcp, rendered(app, 1, wanted, socket))
    torn = {number for number in own if closing and there.held(number) - wanted}
    torn |= {number for number, its_socket in accepting.items() if its_socket != socket}
    avoid = frozenset(number for number in own | opened if there.pins[number] not in mine or number in torn)
    alone = (
        *(Unit(unit_name.instance_socket(name, number), its_text) for number, its_text in sorted(opened.items())),
        *(Unit(unit_name.instance(name, number), its_text) for number, its_text in sorted(own.items())),
    )
    kept = {unit_name.generation_socket(name, number) for number in there.accepted()}
    names = {unit.name for unit in rendered(app, 1, wanted | late, socket)} | kept
    stale = (
        *(unit_name.instance(name, number) for number in sorted(there.own.keys() - own.keys())),
        *(unit_name.instance_socket(name, number) for number in sorted(there.own_sockets.keys() - opened.keys())),
        *(unit for unit in there.installed if unit not in names),
    )

    def units(instances: int) -> tuple[Unit, ...]:
        return tuple(_left_alone(unit, there, placement) for unit in rendered(app, instances, wanted | late, socket))

    # What stands by keeps its number, and at boot the umbrella has to reach those that serve.
    aside = 0 if goal.standby is None else sum(made not in mine for made in there.pins.values())
    needed = max(goal.ceiling + len(own) + len(there.masked) + aside, max(there.pins, default=0))
    # An umbrella that could start a few more than needed does no harm; rewriting it costs a daemon-reload.
    result = units(max(needed, there.reach()))
    if stale or there.reach() > 2 * goal.ceiling or not there.has((*alone, *result)):
        result = units(needed)
    holders = frozenset(number for number in there.pins if there.held(number) & going)
    return Layout(result, alone, stale, avoid, placement, late, holders)


def _opened(there: Present, numbers: frozenset[int], units: Iterable[Unit]) -> dict[int, str]:
    """Return the TCP socket units of these pinned instances that the template would open otherwise, or not at all:
    instance number to the text they keep. An edited socket could not be opened any more."""
    wanted = next((unit.text for unit in units if unit.name == unit_name.instance_socket(there.name, "")), None)
    installed = there.installed.get(unit_name.instance_socket(there.name, ""))
    if installed is None:
        return {} if wanted else {number: text for number, text in there.own_sockets.items() if number in numbers}
    kept = {number: there.own_sockets.get(number, installed) for number in numbers}
    if wanted is None:
        return kept
    return {number: text for number, text in kept.items() if sockets.settings(text) != sockets.settings(wanted)}


def settled(app: App, goal: Goal, there: Present, make: Render) -> tuple[Unit, ...]:
    """The app's units as they are to be when nothing of an older generation is left."""
    placement = there.place(app)
    held = frozenset(item.name for item in placement.wanted)

    def units(instances: int) -> tuple[Unit, ...]:
        made = make(
            app,
            instances,
            listening=sockets.in_order(app.name, placement.wanted),
            held=held,
            probe_sockets=False,
            steer=there.steers(app),
            generation_socket=there.generation_socket(app, goal),
        )
        return tuple(_left_alone(unit, there, placement) for unit in made)

    needed = max(goal.ceiling, max(there.pins, default=0))
    return units(max(needed, there.reach()) if there.reach() <= 2 * goal.ceiling else needed)


def _left_alone(unit: Unit, there: Present, placement: Placement) -> Unit:
    """An open socket's unit is not even rewritten: with a comment that reads otherwise now, or for settings that no
    longer count for it."""
    old = there.installed.get(unit.name)
    if old is None:
        return unit
    if any(unit.name in sockets.files(there.name, item.name) for item in placement.going):
        return Unit(unit.name, old)
    if unit_name.generation_socket_number(there.name, unit.name) in there.accepted():
        return Unit(unit.name, old)
    is_socket = any(unit.name == item.name for item in placement.kept)
    return Unit(unit.name, old) if is_socket and sockets.settings(old) == sockets.settings(unit.text) else unit
