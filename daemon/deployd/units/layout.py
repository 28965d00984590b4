"""The unit files that a goal needs, given those that are installed: for new instances, and for those that keep theirs.

The template of the instances is that of the goal. Every other instance keeps what it was started with; where the
template differs, it has a unit file of its own with the settings of its generation and the sockets that it is passed.
Which sockets an instance holds is read from its unit file, so that another daemon sees the same after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

from deployd.model import unit_name
from deployd.model.app import App
from deployd.plan.goal import Goal
from deployd.units.present import Present, SettingsOf
from deployd.units.text import Unit, sockets
from deployd.units.text.sockets import Placement, Socket


class Render(Protocol):
    """Renders unit files: `unit_files` with the state directory and the command of this daemon."""

    def __call__(
        self,
        app: App,
        instances: int,
        *,
        listening: tuple[Socket, ...],
        held: frozenset[str],
        probe_sockets: bool,
        steer: bool,
        alongside: bool,
        generation_socket: int | None,
    ) -> tuple[Unit, ...]: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The unit files that a goal needs."""

    units: tuple[Unit, ...]
    """Unit files of the app as a whole."""
    alone: tuple[Unit, ...]
    """Unit files of single instances, which differ from the template."""
    stale: tuple[str, ...]
    """Installed units that are no longer needed."""
    avoid: frozenset[int]
    """Numbers that new instances must not get: the unit of that instance is one of an older generation, or has a socket
    that is to be closed."""
    placement: Placement
    late: frozenset[str]
    """Sockets that new instances are passed although the goal does not want them."""
    holders: frozenset[int]
    """Pinned instances that hold sockets which the goal does not want."""

    @property
    def files(self) -> tuple[Unit, ...]:
        """Return all unit files in the order in which they are to be written: as long as an old instance has no unit of
        its own, the template describes it."""
        return (*self.alone, *self.units)

    def unit(self, name: str) -> Unit:
        """Return the unit of that name."""
        return next(unit for unit in self.units if unit.name == name)


def layout(app: App, goal: Goal, there: Present, settings_of: SettingsOf, make: Render, *, closing: bool) -> Layout:
    """Return the layout for `goal`, whose settings are `app`. Raises Refused for addresses that it cannot have.

    While there are instances of older generations, new ones are passed their sockets too, so that an address that is to
    be closed is served to its end. `closing` is the second pass, without these sockets. If routing changes, new ones
    have the addresses in any case, and instances that run the goal's process are replaced like others.
    """
    name, mine = app.name, goal.same | {goal.generation}
    placement, steer, changing = there.place(app), there.steers(app), there.changes_routing(app)
    wanted = frozenset(item.name for item in placement.wanted)
    older = [number for number, made in there.pins.items() if made not in mine and made < goal.generation]
    going = frozenset(item.name for item in placement.going)
    late = frozenset[str]() if closing or steer else there.in_use(older) & going
    settings = {number: app if made in mine else settings_of(made) for number, made in there.pins.items()}
    listening = sockets.in_order(name, (*placement.wanted, *placement.going))
    socket = there.generation_socket(app, goal, settings_of)
    steered = {number: there.has_own_sockets(number, steer) for number in there.pins}
    probed = any(
        item is not None and item.has_probe_socket(steered=steered[number]) for number, item in settings.items()
    )

    # Nearly all pinned instances have the same settings and sockets.
    rendered = cache(partial(_rendered, partial(make, listening=listening, probe_sockets=probed, alongside=changing)))

    def template(its: App, held: frozenset[str], generation_socket: int | None, own_sockets: bool) -> str:
        units = rendered(its, 1, held, generation_socket, own_sockets)
        return next(unit.text for unit in units if unit.name == unit_name.template(name))

    accepting = {number: there.generation_sockets.get(made) for number, made in there.pins.items()}
    text = template(app, wanted | late, socket, steer)
    own = {
        number: its_text
        for number, its in settings.items()
        if its is not None
        and (its_text := template(its, there.held(number) or wanted | late, accepting[number], steered[number])) != text
    }
    tcp = frozenset(number for number, its in settings.items() if steered[number] and (its is None or its.has_tcp))
    opened = _opened(there, tcp, rendered(app, 1, wanted, socket, steer))
    torn = {number for number in own if closing and there.held(number) - wanted}
    torn |= {number for number in there.pins if accepting[number] != socket or steered[number] is not steer}
    avoid = frozenset(number for number in own | opened if there.pins[number] not in mine or number in torn)
    alone = _alone(name, own, opened)
    stale = _stale(there, own.keys(), opened.keys(), rendered(app, 1, wanted | late, socket, steer))

    def units(instances: int) -> tuple[Unit, ...]:
        made = rendered(app, instances, wanted | late, socket, steer)
        return tuple(_left_alone(unit, there, placement, changing=changing) for unit in made)

    needed = _needed(goal, there, len(own))
    # An app unit that wants a few more instances than needed is harmless; a new one costs a daemon-reload.
    result = units(max(needed, there.reach()))
    if stale or there.reach() > 2 * goal.ceiling or not there.has((*alone, *result)):
        result = units(needed)
    holders = frozenset(number for number in there.pins if there.held(number) & going)
    return Layout(result, alone, stale, avoid, placement, late, holders)


def _rendered(
    make: Callable[..., tuple[Unit, ...]],
    app: App,
    instances: int,
    held: frozenset[str],
    generation_socket: int | None,
    steer: bool,
) -> tuple[Unit, ...]:
    """Return the units of `app`; only arguments with a hash, so that the result can be cached."""
    return make(app, instances, held=held, generation_socket=generation_socket, steer=steer)


def _alone(name: str, own: Mapping[int, str], opened: Mapping[int, str]) -> tuple[Unit, ...]:
    """Return the units of single instances, sockets first; texts by instance number."""
    return (
        *(Unit(unit_name.instance_socket(name, number), text) for number, text in sorted(opened.items())),
        *(Unit(unit_name.instance(name, number), text) for number, text in sorted(own.items())),
    )


def _needed(goal: Goal, there: Present, own: int) -> int:
    """Return the highest instance number that the app unit must start; `own`: instances that have a unit of their own.

    Instances in standby and those that drain keep their numbers, and at boot the app unit must start those that serve.
    """
    mine = goal.same | {goal.generation}
    keep = goal.standby is not None or goal.drains
    old = {number for number, made in there.pins.items() if made not in mine} if keep else set()
    aside = len(old | there.draining)
    return max(goal.ceiling + own + len(there.masked | there.special) + aside, max(there.pins, default=0))


def _stale(there: Present, own: AbstractSet[int], opened: AbstractSet[int], units: Iterable[Unit]) -> tuple[str, ...]:
    """Return the units that are installed and not wanted: neither one of `units` nor the own one of an instance."""
    name = there.name
    wanted = {unit.name for unit in units}
    wanted |= {unit_name.generation_socket(name, number) for number in there.accepted()}
    return (
        *(unit_name.instance(name, number) for number in sorted(there.own.keys() - own)),
        *(unit_name.instance_socket(name, number) for number in sorted(there.own_sockets.keys() - opened)),
        *(unit for unit in there.installed if unit not in wanted),
    )


def _opened(there: Present, numbers: frozenset[int], units: Iterable[Unit]) -> dict[int, str]:
    """Return the TCP socket units of these pinned instances that differ from the template, or have none: instance
    number to the text that is kept. A socket whose unit is edited could not be opened again."""
    wanted = next((unit.text for unit in units if unit.name == unit_name.instance_socket(there.name, "")), None)
    installed = there.installed.get(unit_name.instance_socket(there.name, ""))
    if installed is None:
        return {} if wanted else {number: text for number, text in there.own_sockets.items() if number in numbers}
    kept = {number: there.own_sockets.get(number, installed) for number in numbers}
    if wanted is None:
        return kept
    return {number: text for number, text in kept.items() if sockets.settings(text) != sockets.settings(wanted)}


def settled(app: App, goal: Goal, there: Present, make: Render) -> tuple[Unit, ...]:
    """Return the app's units for the time when no instance of an older generation is left."""
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
            alongside=False,
            generation_socket=there.generation_socket(app, goal),
        )
        return tuple(_left_alone(unit, there, placement) for unit in made)

    needed = max(goal.ceiling, max(there.pins, default=0))
    return units(max(needed, there.reach()) if there.reach() <= 2 * goal.ceiling else needed)


def _left_alone(unit: Unit, there: Present, placement: Placement, *, changing: bool = False) -> Unit:
    """Return the installed unit of an open socket instead of `unit`: it is not rewritten for a change of a comment, nor
    for settings that do not apply to it any more.

    With `changing`, sockets of instances are open at the addresses of shared ones, also after a boot.
    """
    old = there.installed.get(unit.name)
    if changing and unit_name.shared_socket_count(there.name, unit.name) is not None:
        kept = _left_alone(unit, there, placement)
        elsewhere = old is None or sockets.is_set_aside(old)
        return Unit(unit.name, sockets.alongside(there.name, kept.text, elsewhere=elsewhere))
    if old is None:
        return unit
    if any(unit.name in sockets.files(there.name, item.name) for item in placement.going):
        return Unit(unit.name, old)
    if unit_name.generation_socket_number(there.name, unit.name) in there.accepted():
        return Unit(unit.name, old)
    is_socket = any(unit.name == item.name for item in placement.kept)
    return Unit(unit.name, old) if is_socket and sockets.lines(old) == sockets.lines(unit.text) else unit
