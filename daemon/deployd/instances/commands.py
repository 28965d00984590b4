"""Commands of an app that run as its instances do: with the settings of their units, drop-ins included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deployd.model.app import App
from deployd.model.instance import Instance
from deployd.model.scope import SYSTEM, Scope
from deployd.state.pins import Pins
from deployd.systemd.execution import Execution
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command
from deployd.units.text import ENVIRONMENT, command_unit

BUILDS = "deployd-build"
"""The directory for builds below that of CacheDirectory=."""
MS_REC = 16384
"""Of mount(2), as BindPaths= has it unless it says norbind."""


class Commands:
    """Builds commands of an app. Raises SystemdError if settings of its instances cannot be read or passed on."""

    def __init__(self, execution: Execution, pins: Pins, scope: Scope = SYSTEM) -> None:
        self._execution = execution
        self._scope = scope
        self._pins = pins
        self._instances: dict[tuple[str, int], tuple[str, ServiceSettings]] = {}

    async def of_generation(
        self,
        app: App,
        generation: int,
        argv: tuple[str, ...],
        description: str,
        *,
        release: str,
        environment: Mapping[str, str],
        timeout: float,
        file: str = ENVIRONMENT,
    ) -> Command:
        """Return a command that runs in a generation, which needs its files on the disk but no installed units.

        `file` is the one of the generation with its environment, `environment` what is added to that.
        """
        files = self._pins.generation_dir(app.name, generation)
        text = command_unit(app, str(files), self._scope, file)
        return Command.of(
            app,
            argv,
            f"{app.name}: {description} of generation {generation}",
            release=release,
            generation=generation,
            settings=await self._execution.of_unit(app.name, text),
            environment=environment,
            timeout=timeout,
        )

    async def of_build(self, app: App, files: Path, argv: tuple[str, ...], *, release: str) -> Command:
        """Return a command that makes a release in an empty directory of its own, in which it sees as `release`.

        `files` is the directory of its environment files.
        """
        text = command_unit(app, str(files), self._scope)
        command = Command.of(
            app,
            argv,
            f"{app.name}: build of {release}",
            release=release,
            generation=0,
            settings=await self._execution.of_unit(app.name, text),
            environment={},
            timeout=app.delivery.timeout,
        )
        name = f"{BUILDS}/{app.name}"
        directory = str(self._scope.cache / name)
        extra: ServiceSettings = {
            "CacheDirectory": ("as", [name]),
            "BindPaths": ("a(ssbt)", [[directory, release, False, MS_REC]]),
            # The mount could deceive programs that get privileges when they are executed.
            "NoNewPrivileges": ("b", True),
        }
        if self._scope.is_user:
            extra = {**extra, "PrivateUsers": ("b", True)}  # or systemd 252 could not mount
        return replace(command, fields={"DEPLOYD_APP": app.name}, extra=extra)

    async def of_instance(
        self,
        app: App,
        instance: Instance,
        argv: tuple[str, ...],
        description: str,
        *,
        release: str,
        timeout: float,
        quiet: bool = False,
    ) -> Command:
        """Return a command that does something to a running instance."""
        number, generation = instance.number, instance.generation or 0
        return Command.of(
            app,
            argv,
            f"{app.name}: {description} of instance {number}",
            release=release,
            generation=generation,
            settings=await self._settings_of(app.name, instance),
            environment={"DEPLOYD_INSTANCE": str(number), "MAINPID": str(instance.main_pid)},
            timeout=timeout,
            quiet=quiet,
        )

    async def _settings_of(self, app: str, instance: Instance) -> ServiceSettings:
        """Return the settings of an instance, read once for each of its starts and not for each probe."""
        known = self._instances.get((app, instance.number))
        if known is not None and known[0] == instance.invocation_id:
            return known[1]
        settings = await self._execution.of_instance(app, instance.number)
        self._instances[app, instance.number] = instance.invocation_id, settings
        return settings
