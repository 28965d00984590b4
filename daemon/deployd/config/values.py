"""Converters: each checks and normalises a TOML value, or raises `Problem`.

They refuse values that systemd could not pass on byte for byte or would interpret otherwise: systemd drops text that is
not UTF-8 by its own, narrower rule (no noncharacters), and the kernel limits one argument or environment assignment to
128 KiB (execve(2), MAX_ARG_STRLEN).
"""

from __future__ import annotations

import re
import signal as signals
import unicodedata
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeVar

from deployd.config.source import Problem, kind
from deployd.model.pace import Amount, Memory

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

LONGEST_STRING = 128 * 1024 - 1
DAY = 86400.0

# systemd.time(7), without months and years, which would exceed every limit here.
_UNITS = {
    **dict.fromkeys(("usec", "us", "µs", "μs"), 0.000001),
    **dict.fromkeys(("msec", "ms"), 0.001),
    **dict.fromkeys(("seconds", "second", "sec", "s"), 1.0),
    **dict.fromkeys(("minutes", "minute", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hr", "h"), 3600.0),
    **dict.fromkeys(("days", "day", "d"), DAY),
    **dict.fromkeys(("weeks", "week", "w"), 7 * DAY),
}
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµμ]*)")
_MEMORY = re.compile(r"([0-9]{1,16})([KMGT%]?)")
# Only names, because the numbers differ between architectures (signal(7)).
_SIGNALS = {name.name for name in signals.Signals} - {"SIGRTMIN", "SIGRTMAX"}
_REALTIME = re.compile(r"SIG(RTMIN(\+([0-9]|[12][0-9]|30))?|RTMAX(-([0-9]|[12][0-9]|30))?)")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,254}\$?")
_ENVIRONMENT_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The only variable with this prefix that an app file sets: integrations/gunicorn.conf.py reads it.
_CHECK = "DEPLOYD_CHECK"
# Set by systemd for the process it starts (systemd.exec(5)). An assignment in the app file would override it and break
# socket passing, readiness or the journal.
_SYSTEMDS = (
    "LISTEN_FDS LISTEN_PID LISTEN_PIDFDID LISTEN_FDNAMES NOTIFY_SOCKET MAINPID MAINPIDFDID MANAGERPID MANAGERPIDFDID "
    "WATCHDOG_PID WATCHDOG_USEC INVOCATION_ID JOURNAL_STREAM SYSTEMD_EXEC_PID FDSTORE CREDENTIALS_DIRECTORY "
    "MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE"
)
# The shell that starts the program (dash or bash, tested) overwrites or drops these, or does not start (OPTIND).
_SHELLS = (
    "_ BASH BASHOPTS BASHPID BASH_ARGV0 BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS EPOCHREALTIME EPOCHSECONDS IFS "
    "LINENO OLDPWD OPTERR OPTIND POSIXLY_CORRECT PPID PS1 PS2 PS4 PWD RANDOM SHELLOPTS SHLVL SRANDOM"
)


def string(raw: Any) -> str:
    """Convert text that reaches a process unchanged: no NUL, nothing that systemd regards as invalid UTF-8."""
    if not isinstance(raw, str):
        raise Problem(f'must be a string, not {kind(raw)}; write it in quotes, as in "text"')
    for character in raw:
        code = ord(character)
        if code == 0:
            raise Problem("must not contain a NUL character; remove it")
        if 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
            raise Problem(f"must not contain U+{code:04X}, which systemd regards as invalid UTF-8; remove it")
    if len(raw.encode()) > LONGEST_STRING:
        raise Problem("must not be longer than 128 KiB, the kernel's limit; move it to a file")
    return raw


def plain(raw: Any) -> str:
    """Convert text for one line of a unit file: no control characters other than tabs."""
    text = string(raw)
    for character in text:
        if unicodedata.category(character) == "Cc" and character != "\t":
            raise Problem(f"must not contain the control character U+{ord(character):04X}; remove it")
    return text


def path(raw: Any) -> str:
    """Convert an absolute path and normalise it."""
    text = plain(raw)
    if not text.startswith("/"):
        raise Problem(f'must be an absolute path, not "{text}"; start it with /')
    if text != text.strip() or "\\" in text:
        raise Problem("must not begin or end with a space or contain a backslash; rename the file")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Problem('must not contain ".."; write the path without it')
    return "/" + "/".join(parts)


def environment_file(raw: Any) -> str:
    """Convert a path or wildcard as in EnvironmentFile=; a leading ``-`` means that it may be missing."""
    text = plain(raw)
    return "-" + path(text[1:]) if text.startswith("-") else path(text)


def array(convert: Callable[[Any], T], example: str) -> Callable[[Any], tuple[T, ...]]:
    """Return a converter for an array of values that `convert` accepts."""

    def check(raw: Any) -> tuple[T, ...]:
        if not isinstance(raw, list):
            raise Problem(f"must be an array, not {kind(raw)}; write it as {example}")
        return tuple(convert(item) for item in raw)

    return check


def argv(raw: Any) -> tuple[str, ...]:
    """Convert a command. The program is an absolute path or a path inside the release."""
    words = array(string, '["/usr/bin/python3", "app.py"]')(raw)
    if not words or not words[0]:
        raise Problem('must name a program; write it as ["/usr/bin/python3", "app.py"]')
    if ".." in words[0].split("/"):
        raise Problem('must not leave the release with ".."; write an absolute path')
    if words[0].endswith("/") or words[0] == ".":
        raise Problem(f'"{words[0]}" is a directory; name the program in it')
    return words


def boolean(raw: Any) -> bool:
    """Convert a boolean."""
    if not isinstance(raw, bool):
        raise Problem(f"must be a boolean, not {kind(raw)}; write true or false, without quotes")
    return raw


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a converter for an integer from `low` to `high`."""

    def check(raw: Any) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise Problem(f"must be an integer, not {kind(raw)}; write a number from {low} to {high}")
        if not low <= raw <= high:
            raise Problem(f"must be from {low} to {high}, not {raw}")
        return raw

    return check


def amount(raw: Any) -> Amount:
    """Convert a count or a percentage."""
    allowed = 'write a count such as 1, or a percentage such as "25%"'
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise Problem(f"must be a count or a percentage, not {kind(raw)}; {allowed}")
    if isinstance(raw, int):
        if not 0 <= raw <= 1000:
            raise Problem(f"must be from 0 to 1000, not {raw}; {allowed}")
        return Amount(raw)
    if not re.fullmatch(r"[0-9]{1,3}%", raw) or int(raw[:-1]) > 100:
        raise Problem(f'must be from "0%" to "100%", not "{raw}"; {allowed}')
    return Amount(int(raw[:-1]), percent=True)


def memory(raw: Any) -> Memory:
    """Convert bytes, with K, M, G or T to the base of 1024 as in systemd, or a percentage of the available memory."""
    allowed = 'write a percentage of the available memory such as "50%", or bytes such as "512M"'
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise Problem(f"must be an amount of memory, not {kind(raw)}; {allowed}")
    found = _MEMORY.fullmatch(str(raw))
    if found is None or (found[2] == "%" and int(found[1]) > 100):
        raise Problem(f'must be from "0%" to "100%", or bytes below 1024T, not "{raw}"; {allowed}')
    if found[2] == "%":
        return Memory(int(found[1]), percent=True)
    size = int(found[1]) << (10 * " KMGT".index(found[2] or " "))
    if size >= 1 << 50:
        raise Problem(f'must be from "0%" to "100%", or bytes below 1024T, not "{raw}"; {allowed}')
    return Memory(size)


def duration(low: float, high: float) -> Callable[[Any], float]:
    """Return a converter for a time span, to seconds from `low` to `high`."""

    def check(raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float | str):
            raise Problem(f'must be a time span, not {kind(raw)}; write it as "60s", "250ms" or "1min 30s"')
        seconds = _seconds(raw) if isinstance(raw, str) else float(raw)
        if not low <= seconds <= high:
            raise Problem(f'must be from {low:g} to {high:g} seconds, not {raw}; write it as "60s" or "1min 30s"')
        return round(seconds, 6)

    return check


def _seconds(text: str) -> float:
    if text.strip() == "infinity":
        raise Problem('must not be infinite; write a time span such as "60s"')
    total, position = 0.0, 0
    while position < len(text.rstrip()):
        match = _TIME.match(text, position)
        if match is None or (match[2] and match[2] not in _UNITS):
            raise Problem(f'"{text}" is not a time span; write it as "60s", "250ms" or "1min 30s" (systemd.time(7))')
        total += float(match[1]) * _UNITS.get(match[2], 1.0)
        position = match.end()
    if not text.strip():
        raise Problem('must not be empty; write a time span such as "60s"')
    return total


def choice(words: Iterable[E]) -> Callable[[Any], E]:
    """Return a converter for the values of an enumeration, or for some of them."""
    allowed = {str(word): word for word in words}

    def check(raw: Any) -> E:
        if isinstance(raw, str) and raw in allowed:
            return allowed[raw]
        raise Problem(f"must be one of {', '.join(map(repr, allowed))}, not {raw!r}".replace("'", '"'))

    return check


def signal(raw: Any) -> str:
    """Convert the name of a signal, with or without SIG, as in KillSignal= (systemd.kill(5))."""
    if isinstance(raw, str):
        name = raw if raw.startswith("SIG") else f"SIG{raw}"
        if name in _SIGNALS or _REALTIME.fullmatch(name):
            return name
    raise Problem(f'must be the name of a signal, not "{raw}"; write it as "SIGTERM", "SIGQUIT" or "SIGRTMIN+3"')


def account(raw: Any) -> str:
    """Convert a user or group: a name, or a number as a string or an integer."""
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else string(raw)
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        if int(text) in (0xFFFF, 0xFFFFFFFF) or int(text) > 0xFFFFFFFF:
            raise Problem(f"{text} is not a usable number; write one from 0 to 4294967294, but not 65535")
        return text
    if not _USER.fullmatch(text):
        raise Problem(f'"{text}" is not a user or group; write a name such as "www-data", or a number')
    return text


def environment_key(key: str) -> str:
    """Check the name of an environment variable that an app file may set."""
    if not _ENVIRONMENT_KEY.fullmatch(key):
        raise Problem("is not a valid name of an environment variable; use letters, digits and _, with no digit first")
    if key.startswith("DEPLOYD_") and key != _CHECK:
        raise Problem("is reserved; names that start with DEPLOYD_ belong to deployd, choose another name")
    if key in _SYSTEMDS.split():
        raise Problem("is set by systemd for each process (systemd.exec(5)); remove it")
    if key in _SHELLS.split():
        raise Problem("is overwritten by the shell that starts the program; choose another name")
    return key
