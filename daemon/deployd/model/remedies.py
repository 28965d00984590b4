"""What to do about a failure, in one sentence, by what systemd and the program said of it. Pure.

The one place of remedies. A remedy never quotes a line of the program: it is shown to users who may not read these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_IN_USE = re.compile(
    r"address (?:is )?already in use|EADDRINUSE|\(98\)|errno:? 98\b|probably another instance of uWSGI"
    r"|address already bound|Another FPM instance seems to already listen on"
    r"|Failed to bind to address|Only one usage of each socket address",
    re.IGNORECASE,
)
_PORT = re.compile(r"(?::|', |\bport )(\d{1,5})\b")
_NOT_PERMITTED = re.compile(r"reception only permitted for|reception is disabled")
_NOT_OURS = re.compile(r"\bLISTEN_PID\b")
_NO_OUTPUT = re.compile(r"Failed to set up standard (output|error)")
_ASSIGNMENT = re.compile(r"Ignoring invalid environment assignment")


def remedy(said: Iterable[str], lines: Sequence[str], listen: Sequence[str]) -> str:
    """Return what to do, "" if that is unknown.

    `said`: messages of systemd; `lines`: what the program wrote; `listen`: the addresses of the app.
    """
    warnings = "\n".join(said)
    if _NOT_PERMITTED.search(warnings):
        return (
            'let the program that exec starts run the server with exec, or set NotifyAccess = "all" in [service], so'
            " that systemd takes READY=1 from its children"
        )
    in_use = [line for line in (*warnings.split("\n"), *lines) if _IN_USE.search(line)]
    if in_use and listen:
        return _in_use(in_use, listen)
    if any(_NOT_OURS.search(line) for line in lines):
        return "let the program that exec starts run the server with exec: LISTEN_FDS is for the main process only"
    if found := _NO_OUTPUT.search(warnings):
        return f"create the directory of the file that Standard{found[1].title()}= names, because systemd does not"
    if _ASSIGNMENT.search(warnings):
        return "write each line of an environment file as NAME=value (systemd.exec(5), EnvironmentFile=)"
    return ""


WITHOUT_READY = (
    'if the program cannot send READY=1 (sd_notify(3)), set type = "exec" and a probe in [gate]; if a child of it does,'
    ' set NotifyAccess = "all" in [service]; if its start takes longer, raise timeout in [gate]; deployd presets says'
    " what servers can do"
)


OTHER_LISTENER = 'let the server take that socket (LISTEN_FDS), or set mode = "port" and have it listen on $PORT'
"""For a program that listens elsewhere."""

IN_BACKGROUND = (
    "a server has to stay in the foreground: switch off its daemon mode, and start it with exec if exec names a script"
)
"""For a program that exits with status 0 instead of getting ready."""


def probe_remedy(problem: str, host: str) -> str:
    """Return the problem of an HTTP probe, with what to do if the app may serve other hosts only than `host`, to which
    the probe was sent because the app file names none."""
    if not _REFUSES_HOST.search(problem):
        return problem
    return f'{problem}; if the app serves known hosts only, set host in probe: it was asked for "{host}"'


_REFUSES_HOST = re.compile(r" answered (400|403|421) ")
"""Bad Request of Django, Forbidden of Rails, Misdirected Request."""


def stop_remedy(program: Sequence[str], processes: Sequence[str], signal: str) -> str:
    """Return what to do about an instance that did not end after `signal`.

    `program` is its command line; `processes` are the names of those that had to be killed.
    """
    names = {word.rpartition("/")[2].lower() for word in (*program[:2], *processes)}
    for prefix, graceful, advice in _GRACEFUL:
        if signal != graceful and any(name.startswith(prefix) for name in names):
            return advice
    return "raise [stop] timeout, or set [stop] signal to the one after which its server finishes requests and exits"


_GRACEFUL = (
    (
        "uwsgi",
        "",
        'uWSGI takes SIGTERM for a reload: add --hook-master-start "unix_signal:15 gracefully_kill_them_all" to exec',
    ),
    ("nginx", "SIGQUIT", 'nginx finishes requests after SIGQUIT: set signal = "SIGQUIT" in [stop]'),
    ("php-fpm", "SIGQUIT", 'php-fpm finishes requests after SIGQUIT: set signal = "SIGQUIT" in [stop]'),
    ("unicorn", "SIGQUIT", 'unicorn finishes requests after SIGQUIT: set signal = "SIGQUIT" in [stop]'),
    ("haproxy", "SIGUSR1", 'HAProxy finishes requests after SIGUSR1: set signal = "SIGUSR1" in [stop]'),
    ("httpd", "SIGWINCH", 'Apache finishes requests after SIGWINCH: set signal = "SIGWINCH" in [stop]'),
    ("apache2", "SIGWINCH", 'Apache finishes requests after SIGWINCH: set signal = "SIGWINCH" in [stop]'),
)
"""Beginnings of programs' names, the signal after which they finish requests, and what to do."""


def _in_use(lines: Sequence[str], listen: Sequence[str]) -> str:
    ports = {port for line in lines for port in _PORT.findall(line)}
    held = [address for address in listen if address.rpartition(":")[2] in ports]
    named = held or [address for address in listen if any(address in line for line in lines)]
    if ports and not named:
        return (
            "another program or instance has that address, which is not in listen: stop that program, or have each"
            " instance choose an address of its own by DEPLOYD_INSTANCE"
        )
    other = "" if named else "; any other address must not be the same one in each instance (DEPLOYD_INSTANCE)"
    return (
        f"systemd holds {(named or listen)[0]} for the app: have the server take the socket that it is passed"
        ' (LISTEN_FDS) instead of opening the address again, or listen on the port in $PORT with mode = "port";'
        f" deployd presets says how servers do that{other}"
    )
