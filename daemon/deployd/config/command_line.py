"""Variables in the command lines of [service]: those that are set when the command runs, and no others.

systemd replaces ``${NAME}`` anywhere, and ``$NAME`` as a word of its own; a variable that is not set becomes nothing
(systemd.service(5)). ``$NAME`` within a longer word is left to the program, mostly a shell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_ALWAYS = frozenset(
    re.findall(
        r"\w+",
        """
        PATH LANG HOME USER LOGNAME SHELL TERM INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET MANAGERPID SYSTEMD_EXEC_PID
        LISTEN_FDS LISTEN_FDNAMES LISTEN_PID WATCHDOG_USEC WATCHDOG_PID RUNTIME_DIRECTORY STATE_DIRECTORY
        CACHE_DIRECTORY LOGS_DIRECTORY CONFIGURATION_DIRECTORY CREDENTIALS_DIRECTORY MEMORY_PRESSURE_WATCH
        MEMORY_PRESSURE_WRITE FDSTORE DEBUG_INVOCATION
        DEPLOYD_APP DEPLOYD_PROCESS DEPLOYD_INSTANCE DEPLOYD_GENERATION DEPLOYD_RELEASE
        """,
    )
)
_RESULTS = frozenset(["SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"])
_BEFORE = ("ExecStartPre", "ExecCondition")
_AT_THE_END = ("ExecStop", "ExecStopPost")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BRACED = re.compile(r"\$\$|\$\{([^}]*)(\}?)")


def variables_problem(key: str, line: str, own: Collection[str] | None) -> str:
    """Return what is wrong with the variables in the command line of directive `key`, or "".

    `own`: the app's own variables, None if they are not known.
    """
    program, *_ = line.split(maxsplit=1) or [""]
    if ":" in (re.match(r"[-@:+!|]*", program) or [""])[0]:
        return ""  # systemd expands no variables in it
    for name in _names(line):
        if not re.fullmatch(_NAME, name):
            return (
                f"${{{name}}} is not possible: systemd knows only ${{NAME}}; write $${{{name}}} to leave it to a shell"
            )
        if name == "MAINPID" and key in _BEFORE:
            return "$MAINPID is not possible: there is no main process before the start; use ExecStartPost"
        if name in _RESULTS and key not in _AT_THE_END:
            return f"${name} is not possible: it is set in {' and '.join(_AT_THE_END)} only"
        if own is not None and name not in {"MAINPID", *_ALWAYS, *_RESULTS, *own}:
            return (
                f"${name} would be empty: it is neither in environment nor one of systemd's variables; add it there, or"
                f" write $${name} for a dollar sign"
            )
    return ""


def _names(line: str) -> Iterator[str]:
    for word in _words(line):
        if found := re.fullmatch(rf"\$({_NAME})", word):
            yield found[1]
        else:
            yield from (name for name, closed in _BRACED.findall(word) if closed)


def _words(line: str) -> Iterator[str]:
    """Yield the words, without their quotes (systemd.syntax(7), Quoting)."""
    word, quote, escaped, inside = "", "", False, False
    for letter in line:
        if escaped:
            word, escaped = word + letter, False
        elif letter == "\\":
            escaped = True
        elif quote:
            word, quote = (word, "") if letter == quote else (word + letter, quote)
        elif letter in "\"'" and not word:
            quote, inside = letter, True
        elif letter in " \t":
            if word or inside:
                yield word
            word, inside = "", False
        else:
            word += letter
    if word or inside:
        yield word
