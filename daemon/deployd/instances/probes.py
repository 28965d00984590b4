"""The two kinds of probes: HTTP to a listener or the private socket of an instance, or a command that systemd runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from deployd import probe
from deployd.errors import SteeringError
from deployd.instances.actuator import Actuator
from deployd.instances.commands import Commands
from deployd.instances.prober import Prober
from deployd.model.app import App, Mode
from deployd.model.gate import Answer
from deployd.model.instance import Instance
from deployd.model.remedies import probe_remedy
from deployd.model.scope import SYSTEM
from deployd.reuseport.probes import Aimed
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.systemd.transient import Transient
from deployd.units.text import socket_paths

Aim = Callable[[int, float], AbstractContextManager[Aimed] | None]
"""Router.aim of the app."""

NO_LISTENER = "does the program listen on 127.0.0.1, at the port in PORT?"


def prober(
    app: str,
    systemd: Systemd,
    transient: Transient,
    commands: Commands,
    actuator: Actuator,
    aim: Aim,
    changed: Callable[[], None],
    runtime: Path = SYSTEM.runtime,
) -> Prober:
    """Return the prober of `app`. `runtime`: the directory that has the private sockets."""

    async def ask_http(settings: App, instance: Instance, _release: str) -> Answer:
        asked = settings.gate.probe
        if asked is None:
            return Answer()

        async def ask(where: str | Aimed) -> Answer:
            to = where if isinstance(where, str) else (where.socket, where.target)
            answer = await probe.ask(to, asked.host or app, asked.http, asked.expect, asked.timeout)
            return answer if asked.host else replace(answer, problem=probe_remedy(answer.problem, app))

        try:
            if (aimed := aim(instance.number, asked.timeout)) is None:
                return await ask(socket_paths.probe(app, instance.number, runtime))
            with aimed as found:
                answer = await ask(found)
            if settings.mode is Mode.PORT and answer.problem and not answer.wrong:
                # Until then the proxy accepts nothing.
                return replace(answer, problem=f"{answer.problem}; {NO_LISTENER}")
            return answer
        except SteeringError as error:
            return Answer(str(error))

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
