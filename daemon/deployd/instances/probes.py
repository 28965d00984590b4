"""The two kinds of probes: HTTP over the private socket of an instance, or a command that systemd runs."""

from __future__ import annotations

from collections.abc import Callable

from deployd.instances.actuator import Actuator
from deployd.instances.commands import Commands
from deployd.instances.prober import Prober, ask_http
from deployd.model.app import App
from deployd.model.instance import Instance
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.systemd.transient import Transient


def prober(
    app: str,
    systemd: Systemd,
    transient: Transient,
    commands: Commands,
    actuator: Actuator,
    changed: Callable[[], None],
) -> Prober:
    """Return the prober of `app`."""

    async def ask_command(settings: App, instance: Instance, release: str) -> str:
        asked = settings.gate.probe
        if asked is None:
            return ""
        command = await commands.probe(settings, instance, asked.command, asked.timeout, release)
        said = await transient.ask(app, instance.number, command, asked.expect)
        return said and f"{' '.join(asked.command)} {said}"

    async def invocation(number: int) -> str:
        return observe.invocation_id(await systemd.read(actuator.unit(number), UNIT, ["InvocationID"]))

    return Prober(ask_http, ask_command, invocation, changed)
