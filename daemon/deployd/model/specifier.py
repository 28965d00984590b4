"""Specifiers of systemd.unit(5) in values of app files: which are understood, and how a value is written to a unit."""

from __future__ import annotations

import re

from deployd.model import unit_name
from deployd.model.directive import Section

_OF_THE_MACHINE = "abmovwABMWHlqtTVSCLE"
"""The machine, its host name and its directories: the same in each unit."""
_OF_THE_INSTANCE = "iInNpjd"
"""The unit: the number of the instance, its name, that of the app, the directory of its credentials."""

UNDERSTOOD = {
    Section.SERVICE: _OF_THE_INSTANCE + _OF_THE_MACHINE,
    Section.SOCKET: _OF_THE_MACHINE,
}

_MANAGER = "stands for the user of systemd itself, which is root, and not for that of the app"
_REASONS = {
    **dict.fromkeys("uUgGhs", _MANAGER),
    "P": 'makes "/" of each "-" in the name of the app; use %p',
    "J": 'makes "/" of each "-" in the name of the app; use %j',
    "f": "is a path made of the instance's number; use %i",
    **dict.fromkeys("yY", "is where deployd has written the unit, which changes during a rollout"),
}
_ONE_SOCKET = "differs from instance to instance, and a socket belongs to all of them"

_TOKEN = re.compile(r"%(.?)", re.DOTALL)


def problem(section: Section, text: str) -> str:
    """Return why a value of a directive in which systemd expands specifiers is refused, or ""."""
    for letter in _TOKEN.findall(text):
        if not letter.isascii() or not letter.isalnum() or letter in UNDERSTOOD[section]:
            continue
        if section is Section.SOCKET and letter in _OF_THE_INSTANCE:
            reason = _ONE_SOCKET
        else:
            reason = _REASONS.get(letter, "is no specifier that deployd knows")
        return f"%{letter} {reason}; write %%{letter} for a percent sign, or the value itself"
    return ""


def written(text: str) -> str:
    """Return a value of a directive in which systemd expands specifiers as it is written to a unit.

    A percent sign that begins no specifier is doubled.
    """
    return _TOKEN.sub(lambda found: found[0] if found[1].isalnum() or found[1] == "%" else f"%%{found[1]}", text)


def literal(text: str) -> str:
    """Return the text that systemd makes of a value in which it expands specifiers; "" if the value has any."""
    if any(letter.isalnum() for letter in _TOKEN.findall(text)):
        return ""
    return text.replace("%%", "%")


def without_instance(text: str, app: str) -> str:
    """Return a written value for a unit that is no instance, but a hook."""
    name = unit_name.instance(app, "hook")
    names = {"i": "hook", "I": "hook", "n": name, "N": name.removesuffix(".service")}
    return _TOKEN.sub(lambda found: names.get(found[1], found[0]), text)
