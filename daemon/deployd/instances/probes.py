"""The two kinds of probes: HTTP over the private socket of an instance, or a command that systemd runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployd.instances.actuator import Actuator
from deployd.instances.commands import Commands
from deployd.instances.prober import Prober, ask_http
from deployd.model.app import App
from deployd.model.gate import Answer
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

    async def ask_command(settings: App, instance: Instance, release: str) -> Answer:
        asked = settings.gate.probe
        if asked is None:
            return Answer()
        command = await commands.of_instance(
            settings, instance, asked.command, "probe", release=release, timeout=asked.timeout, quiet=True
        )
        answer = await transient.ask(app, instance.number, command, asked.expect)
        return replace(answer, problem=answer.problem and f"{' '.join(asked.command)} {answer.problem}")

    async def invocation(number: int) -> str:
        return observe.invocation_id(await systemd.read(actuator.unit(number), UNIT, ["InvocationID"]))

    return Prober(ask_http, ask_command, invocation, changed)
