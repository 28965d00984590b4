"""One escape for every kind of place in which a value is written, and a last check behind all of them.

| place | interprets | escape |
|---|---|---|
| a directive that takes a path or name | specifiers (systemd.unit(5)) | `specifier` |
| a word of ExecStart= and the like | specifiers, quotes, backslashes, variables (systemd.service(5)) | `word` |
| a value of [service] or [socket] | depends on the directive, for some specifiers and variables | `directive` |
| a shell script | quotes | `shell` |
| an environment file | quotes, backslashes (systemd.exec(5)) | `assignment` |
"""

from __future__ import annotations

import re

from deployd.model import specifier as specifiers
from deployd.model.directive import Section, find

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=+,@-]+")
_DOLLAR = re.compile(r"\$\$|\$(?![A-Za-z_{])")
_QUOTED_SPECIAL = re.compile(r'["\\`$]')
_LINE_ENDING = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def specifier(text: str) -> str:
    """Escape text in which systemd expands specifiers: ``%`` is doubled."""
    return text.replace("%", "%%")


def directive(value: str, section: Section, key: str) -> str:
    """Escape the value of a directive of [service] or [socket], which is in systemd's language already.

    What begins neither a specifier nor a variable is literal: a percent sign where systemd expands specifiers, and a
    dollar sign in commands.
    """
    known = find(section, key)
    if known is not None and known.is_command:
        value = _DOLLAR.sub("$$", value)
    return specifiers.written(value) if known is not None and known.expands else value


def word(text: str, tail: str = "") -> str:
    """Escape one word of a command line. `tail` is unit syntax that belongs to the same word, such as ``/%i/run``."""
    if _PLAIN_WORD.fullmatch(text):
        return text + tail
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{specifier(escaped)}{tail}"'


def shell(text: str) -> str:
    """Escape one word of a shell script: between single quotes only the single quote itself is special."""
    return "'" + text.replace("'", "'\\''") + "'"


def assignment(key: str, value: str) -> str:
    """Return an assignment for an EnvironmentFile=, on one line or, if the value has newlines, on several.

    Between double quotes a backslash escapes a double quote, a backslash, a backtick and a dollar sign; everything else
    is literal, comment signs and newlines included.
    """
    escaped = _QUOTED_SPECIAL.sub(r"\\\g<0>", value)
    return f'{key}="{escaped}"\n'


def one_line(value: object) -> object:
    """Raise ValueError for a value that would end its line. Used as `finalize` of Jinja2, for every value."""
    if isinstance(value, str) and _LINE_ENDING.search(value):
        raise ValueError(f"a control character in {value!r} would reach a unit file")
    return value
