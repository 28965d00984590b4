"""The apps of this machine: those that have a file in the directory of app files, and those that have a history."""

from __future__ import annotations

from collections.abc import Iterator

from deployd.apps.app_files import AppFiles
from deployd.errors import NoSuchApp
from deployd.model.rollout import Rollout
from deployd.rollout.controller import Controller


class Registry:
    """Finds apps by name. Each app that has a history has a controller."""

    def __init__(self, files: AppFiles) -> None:
        self._files = files
        self._controllers: dict[str, Controller] = {}

    def __iter__(self) -> Iterator[Controller]:
        """Iterate over the controllers of all apps."""
        return iter([*self._controllers.values()])

    def names(self) -> list[str]:
        """Return the names of the apps, as of the last listing of their files."""
        return sorted({*self._files.names, *self._controllers})

    async def listed(self) -> list[str]:
        """List the app files again and return the names of all apps."""
        await self._files.refresh()
        return self.names()

    def known(self, name: str) -> Controller | None:
        """Return the controller of the app, or None if it has no history. Raises NoSuchApp."""
        controller = self._controllers.get(name)
        if controller is None and name not in self._files.names:
            raise self._files.unknown(name)
        return controller

    async def find(self, name: str) -> None:
        """Raise NoSuchApp unless the app exists, listing the app files again if it has no history."""
        if name not in self._controllers:
            await self._files.refresh()
        self.known(name)

    def unknown(self, name: str) -> NoSuchApp:
        """Return the error for the name of an app that does not exist."""
        return self._files.unknown(name)

    def controller(self, name: str) -> Controller | None:
        """Return the controller of the app, or None if there is no such app or it has no history."""
        return self._controllers.get(name)

    def rollout(self, name: str) -> Rollout | None:
        """Return the rollout of the app that is under way, if any."""
        controller = self._controllers.get(name)
        return controller.rollout if controller is not None else None

    def phase(self, name: str) -> object:
        """Return a value that differs whenever the rollout of the app has entered another phase."""
        rollout = self.rollout(name)
        return None if rollout is None else (rollout.target, rollout.phase, rollout.pause, rollout.closing)

    def add(self, name: str, controller: Controller) -> None:
        """Register the controller of an app, in place of the previous one if there is one."""
        self._controllers[name] = controller

    def drop(self, name: str) -> Controller | None:
        """Forget the controller of an app and return it."""
        return self._controllers.pop(name, None)
