"""The [service] and [socket] tables: directives of systemd that deployd passes on.

Values are in the language of systemd: a specifier, or a variable in a command, stands for what systemd makes of it, if
it is one that makes sense there; any other is refused, so that nothing is silently literal. A value never becomes more
than a value: this module refuses what could end its line, control characters and a backslash at the end. What is
allowed is in `model.directive`; what is not in that table is left to ``systemd-analyze verify``, which knows the
installed version of systemd.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from deployd.config import values
from deployd.config.command_line import variables_problem
from deployd.config.source import Problem, Table, kind
from deployd.model import directive, specifier
from deployd.model.app import Directives
from deployd.model.directive import Section


def directives(table: Table, section: Section, variables: Collection[str] | None = None) -> Directives:
    """Return the directives of the table in the order of the file, each with its values.

    `variables`: the app's own environment variables, None if they are not known.
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    for key, raw in table.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", key):
            raise table.fail(key, "is not a directive; write its name as in the man page, as in MemoryMax")
        try:
            its_values = _values(raw)
            for text in its_values:
                if reason := problem(section, key, text, variables):
                    raise Problem(reason)
            found.append((key, its_values))
        except Problem as error:
            raise table.fail(key, str(error)) from None
    return tuple(found)


def without_effect(own: Directives) -> tuple[str, ...]:
    """Return a sentence for each directive of [service] whose value has no effect."""
    ours = dict(directive.defaults(Section.SERVICE))
    return tuple(
        f'[service] {key} = "{its_values[-1]}" has no effect: {directive.FIXED[key]} ({key}={ours[key]})'
        for key, its_values in own
        if key in directive.FIXED and its_values[-1] != ours[key]
    )


def problem(section: Section, key: str, text: str, variables: Collection[str] | None = None) -> str:
    """Return why directive `key` must not have the value `text`, or ""."""
    known = directive.find(section, key)
    if known is None:
        unclear = re.search(r"%[0-9A-Za-z%]", text)
        return (
            f"{unclear[0]} is not possible: whether {key}= expands specifiers is not known; leave it out"
            if unclear
            else ""
        )
    if reason := known.problem(text):
        return reason
    if known.is_command and section is Section.SERVICE and (reason := variables_problem(key, text, variables)):
        return reason
    if known.expands:
        return specifier.problem(section, text)
    # A percentage such as "50%" has no letter after it.
    found = re.search(r"%[0-9A-Za-z%]", text)
    return (
        f"{found[0]} is not possible: systemd expands no specifiers in {key}=; write the value itself" if found else ""
    )


def _values(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, list):
        if not raw:
            raise Problem('must not be an empty array; write "" to reset a list, or leave the key out')
        return tuple(value(item) for item in raw)
    return (value(raw),)


def value(raw: Any) -> str:
    """Convert one value to its text in the app file."""
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    if isinstance(raw, int):
        return str(raw)
    if not isinstance(raw, str):
        raise Problem(f'must be a string, integer, boolean or an array of these, not {kind(raw)}; write it as "text"')
    text = values.plain(raw).strip()
    if text.endswith("\\"):
        raise Problem("must not end in a backslash, which would join the next line to it; remove it")
    return text
