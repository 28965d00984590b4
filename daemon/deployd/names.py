"""What org.deployd1 is called on the bus: its name, interfaces and object paths, for its clients."""

from __future__ import annotations

import os
import re

NAME = "org.deployd1"
ROOT = "/org/deployd1"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"


def app_path(app: str) -> str:
    """The object of an app, its name encoded as sd_bus_path_encode(3) does it."""
    encoded = re.sub(rb"\A[0-9]|[^A-Za-z0-9]", lambda byte: b"_%02x" % ord(byte[0]), os.fsencode(app))
    return f"{ROOT}/app/{encoded.decode() or '_'}"
