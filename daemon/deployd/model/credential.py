"""Credentials of [service] that systemd reads from files (systemd.exec(5), LoadCredential=). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployd.model import specifier
from deployd.model.app import App

KEYS = ("LoadCredential", "LoadCredentialEncrypted")
DEFAULTS = ("SetCredential", "SetCredentialEncrypted")
"""Directives with the contents of credentials whose files are missing."""
FILE = "credential-"
"""The names of a generation's credentials begin with this, then their number."""


def of_files(app: App) -> Iterator[tuple[str, str, str]]:
    """Yield directive, ID and path of each credential that may belong to a generation."""
    services = dict.fromkeys((app.service, *(timer.service for timer in app.timers)))
    found = ((key, value) for service in services for key in KEYS for value in dict(service).get(key, ()))
    for key, value in dict.fromkeys(found):
        if path := path_of(value):
            yield key, id_of(value), path


def with_default(app: App) -> frozenset[str]:
    """Return the IDs of credentials whose files may be missing."""
    services = (app.service, *(timer.service for timer in app.timers))
    return frozenset(id_of(value) for service in services for key in DEFAULTS for value in dict(service).get(key, ()))


def id_of(value: str) -> str:
    """Return the ID in a value of one of the directives."""
    return value.partition(":")[0]


def path_of(value: str) -> str:
    """Return the path in a value of one of KEYS; "" for a name in the credential store, and for a path with specifiers:
    it may differ from instance to instance."""
    path = value.partition(":")[2]
    return specifier.literal(path) if path.startswith("/") else ""
