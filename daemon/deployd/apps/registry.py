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
        """Iterate over the controllers of all apps and of all process types."""
        return iter([*self._controllers.values()])

    def names(self) -> list[str]:
        """Return the names of the apps, as of the last listing of their files."""
        known = (name for name, controller in self._controllers.items() if controller.application == name)
        return sorted({*self._files.names, *known})

    def members(self, name: str) -> list[Controller]:
        """Return the controllers of an app: its own first, then those of its process types."""
        found = [item for item in self._controllers.values() if item.application == name]
        return sorted(found, key=lambda item: (item.name != name, item.name))

    async def listed(self) -> list[str]:
        """List the app files again and return the names of all apps."""
        await self._files.refresh()
        return self.names()

    def known(self, name: str) -> Controller | None:
        """Return the controller of the app, or None if it has no history. Raises NoSuchApp."""
        controller = self._controllers.get(name)
        if controller is not None and controller.application != name:
            controller = None  # a process type is no app
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
        """Return the controller of the app or process type, None if there is none or it has no history."""
        return self._controllers.get(name)

    def rollout(self, name: str) -> Rollout | None:
        """Return the rollout of the app that is under way, if any; without one of its own, that of a process type."""
        return next((item.rollout for item in self.members(name) if item.rollout is not None), None)

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
