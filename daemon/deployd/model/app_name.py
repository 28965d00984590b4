"""Names of apps: what is allowed, for the daemon and the command."""

from __future__ import annotations

import re

from deployd.model.app import NAME

_UNIT_SUFFIX = re.compile(r"\.(service|socket|target|timer|path|mount|automount|swap|device|slice|scope|snapshot)$")


def name_problem(name: str) -> str:
    """Return what is wrong with the name of an app and how to change it; "" if it is valid."""
    if not NAME.fullmatch(name):
        return (
            f'"{name}" cannot be the name of an app; use up to 63 letters, digits, ".", "-" and "_", with a letter '
            "or digit first"
        )
    if name == "deployd":
        return '"deployd" cannot be the name of an app, because deployd.service is the daemon; rename it'
    if suffix := _UNIT_SUFFIX.search(name):
        return f'"{name}" cannot be the name of an app, because it ends like a unit; remove {suffix[0]}'
    return ""
