"""Asks how an app file differs from what is live, for commands that have something to say without the answer, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployd.errors import DeploydError, InvalidFile

if TYPE_CHECKING:
    from deployd.api import Client


async def file_changes(client: Client, app: str) -> Mapping[str, Any]:
    """Return the answer to Changes, ``{"error": sentence}`` for an invalid app file, and ``{}`` if it is not known: the
    caller may not read the file, or there is no answer within a second."""
    try:
        return await client.file_changes(app)
    except InvalidFile as error:
        return {"error": str(error)}
    except DeploydError:
        return {}
