"""One escape for every kind of place that a value can get into, and a last check behind all of them.

| place | reads | escape |
|---|---|---|
| a directive that takes a path or name | specifiers (systemd.unit(5)) | `specifier` |
| a word of ExecStart= and its like | specifiers, quotes, backslashes, variables (systemd.service(5)) | `word` |
| a value of [service] or [socket] | what the directive reads, some of them specifiers and variables | `directive` |
| a shell script | quotes | `shell` |
| an environment file | quotes, backslashes (systemd.exec(5)) | `assignment` |
"""

from __future__ import annotations

import re

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=+,@-]+")
_SPECIFIER = re.compile(r"%(?=[0-9A-Za-z%])")
_QUOTED_SPECIAL = re.compile(r'["\\`$]')
_LINE_ENDING = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def specifier(text: str) -> str:
    """Text that systemd expands specifiers in: ``%`` stands for itself when doubled."""
    return text.replace("%", "%%")


def directive(value: str, key: str) -> str:
    """The value of any directive, with nothing expanded: ``%i`` and, in commands, ``$HOME`` stand for themselves.

    Only what could be a specifier is doubled: ``CPUQuota=50%`` and its like expand none, and must keep the one sign.
    """
    if key.startswith("Exec"):
        value = value.replace("$", "$$")
    return _SPECIFIER.sub("%%", value)


def word(text: str, tail: str = "") -> str:
    """One word of a command line. `tail` is unit syntax of our own that belongs to the same word, as ``/%i/run``."""
    if _PLAIN_WORD.fullmatch(text):
        return text + tail
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{specifier(escaped)}{tail}"'


def shell(text: str) -> str:
    """One word of a shell script, byte for byte: nothing is special between single quotes but the quote itself."""
    return "'" + text.replace("'", "'\\''") + "'"


def assignment(key: str, value: str) -> str:
    """One line of an EnvironmentFile=, or several: quotes keep newlines.

    Between double quotes a backslash takes the meaning from a double quote, backslash, backtick and dollar sign; all
    else, comment signs and newlines too, stands for itself.
    """
    escaped = _QUOTED_SPECIAL.sub(r"\\\g<0>", value)
    return f'{key}="{escaped}"\n'


def one_line(value: object) -> object:
    """Jinja2's `finalize`: whatever the rest forgot, no value of a template may end its line."""
    if isinstance(value, str) and _LINE_ENDING.search(value):
        raise ValueError(f"a control character in {value!r} would reach a unit file")
    return value
