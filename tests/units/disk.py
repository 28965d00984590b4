"""The unit directory and the pins of an app, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deployd.model import unit_name
from deployd.model.app import App, Listen, ListenKind
from deployd.plan.goal import Goal
from deployd.units.layout import Layout, Render, layout
from deployd.units.present import Present
from deployd.units.text import Unit, unit_files

OLD, NEW = "8080", "8081"
FIRST, SECOND = "web.socket", "web:2.socket"


def app(*addresses: str, **settings: object) -> App:
    listen = tuple(Listen(ListenKind.TCP, address) for address in addresses)
    return replace(App("web", "/srv/web", ("/bin/web",), listen, instances=2), **settings)  # type: ignore[arg-type]


def make() -> Render:
    def units(app: App, instances: int, **options: object) -> tuple[Unit, ...]:
        return unit_files(app, instances, "/state", "/bin/true", **options)  # type: ignore[arg-type]

    return units


@dataclass
class Disk:
    """The unit directory and the pins of `web`."""

    generations: dict[int, App]
    pins: dict[int, int] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)
    own: dict[int, str] = field(default_factory=dict)
    own_sockets: dict[int, str] = field(default_factory=dict)
    generation_sockets: dict[int, int] = field(default_factory=dict)

    def present(self) -> Present:
        return Present(
            "web",
            dict(self.installed),
            dict(self.own),
            dict(self.pins),
            own_sockets=dict(self.own_sockets),
            generation_sockets=dict(self.generation_sockets),
            steerable=True,
        )

    def layout(self, number: int, *same: int, closing: bool = False) -> Layout:
        settings = self.generations[number]
        goal = Goal.of(settings, number, same=frozenset(same))
        return layout(settings, goal, self.present(), self.generations.get, make(), closing=closing)

    def install(self, wanted: Layout, writes: int | None = None) -> None:
        """Install as UnitDirectory does. With `writes`, the daemon is killed after that many files."""
        changes: dict[str, str | None] = {
            unit.name: unit.text for unit in wanted.files if not self.present().has([unit])
        } | dict.fromkeys(wanted.stale)
        for name, text in list(changes.items())[:writes]:
            number = name.removeprefix("web@").partition(".")[0] if name.startswith("web@") else ""
            alone = self.own if name.endswith(".service") else self.own_sockets
            place: dict[object, str] = alone if number else self.installed  # type: ignore[assignment]
            key: object = int(number) if number else name
            if text is None:
                del place[key]
            else:
                place[key] = text

    def held(self, number: int) -> set[str]:
        return set(self.present().held(number))

    def close(self, number: int) -> None:
        going = {item.name for item in self.present().place(self.generations[number]).going}
        idle = going - self.present().in_use(self.pins)
        for name in idle:
            self.installed.pop(name)
            self.installed.pop(unit_name.service_of(name) if name != FIRST else "", None)
        # The template must not pass closed sockets to instances that are started later.
        rewritten = {"web.service", "web@.service"} if idle else ()
        self.installed |= {unit.name: unit.text for unit in self.layout(number).units if unit.name in rewritten}
