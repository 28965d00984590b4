"""What `deployd deploy` needs to know of an app: the [deploy] table of its file."""

from __future__ import annotations

from deployd.apps.caller import Caller
from deployd.apps.file_reader import FileReader
from deployd.apps.reader_pool import ReaderPool
from deployd.documents import Json


class DeploySettings:
    """For all apps."""

    def __init__(self, reader: FileReader, pool: ReaderPool) -> None:
        self._reader = reader
        self._pool = pool

    async def settings(self, caller: Caller, name: str) -> Json:
        """Return the settings, with null for those that the file leaves out.

        They are paths and numbers, which a user may need who deploys, but may not read the file. Of the commands of the
        build there is only the number. Raises InvalidFile, Refused and BusError (LimitsExceeded).
        """
        app = await self._pool.run(caller, lambda: self._reader.load(caller, name))
        found = app.delivery
        return {
            "app": name,
            "releases": found.releases or None,
            "build": len(found.build),
            "shared": list(found.shared),
            "shared_directory": found.shared_directory if found.releases else None,
            "assets": found.assets or None,
            "keep": found.keep or None,
            "current": found.current or None,
            "user": app.user,
        }
