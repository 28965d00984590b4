"""The bus name, interfaces and object paths of org.deployd1, for clients."""

from __future__ import annotations

from deployd.model import unit_name

NAME = "org.deployd1"
ROOT = "/org/deployd1"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"
APPS = f"{ROOT}/app"
"""The objects of the apps are below this path."""

CHANGES = frozenset(
    (
        "Reload",
        "Repair",
        "Apply",
        "Rollout",
        "Rollback",
        "Restart",
        "Scale",
        "Pause",
        "Resume",
        "Abort",
        "SetWeight",
        "Remove",
        "Run",
        "Build",
        "Drain",
        "Undrain",
    )
)
"""Methods that may need the consent of polkit."""


def app_path(app: str) -> str:
    """Return the object path of an app."""
    return f"{APPS}/{unit_name.path_encode(app)}"
