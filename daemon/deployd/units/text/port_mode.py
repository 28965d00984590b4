"""The part of a run script for programs that listen on a port of their own (mode = "port").

The proxy is a process of the instance: it has its limits and its user, is restarted with it, and is frozen with it.
Nothing else needs to know the port, so none is recorded, and a start needs no daemon.
"""

from __future__ import annotations

from deployd.model.app import PORT
from deployd.units.text.escape import shell

PROXY = "/usr/lib/systemd/systemd-socket-proxyd"

_FIRST, _COUNT = 20000, 12000
"""Ports below those that the kernel gives to clients (ip_local_port_range in ip(7))."""
_MOST_CONNECTIONS = 65536
"""The default of systemd-socket-proxyd(8) is 256."""


def word(argument: str) -> str:
    """Return a word of a shell script in which $PORT and ${PORT} are replaced, and all else is literal."""
    return '"$PORT"'.join(shell(part) for part in PORT.split(argument))


def setup(sockets: int) -> str:
    """Return the lines that start the proxy, and hide the `sockets` that were passed from the program."""
    closed = " ".join(f"{number}<&-" for number in range(3, 3 + sockets))
    return f"""\
# The program listens on a loopback port of its own. As soon as it does, systemd-socket-proxyd accepts connections from
# the sockets of the instance and passes them on; earlier ones wait.
if [ ! -x {PROXY} ]; then
    echo "{PROXY} does not exist; install it, or let the program take the socket that it is passed (LISTEN_FDS)" >&2
    exit 72
fi
# Starts at the same time have different PIDs.
PORT=$(({_FIRST} + $$ % {_COUNT}))
while grep -qs "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$PORT") " /proc/self/net/tcp /proc/self/net/tcp6; do
    PORT=$(({_FIRST} + (PORT + 1 - {_FIRST}) % {_COUNT}))
done
export PORT
# Twice in the background, so that the program gets no child that it does not know.
(/bin/sh -c {shell(_RELAY)} sh "$PORT" </dev/null &)
unset LISTEN_FDS LISTEN_PID LISTEN_FDNAMES LISTEN_PIDFDID
exec {closed}
"""


# Addresses in /proc/net/tcp6 are four words in the byte order of the machine, which is little-endian. A listener at
# [::] mostly takes IPv4 as well, and ::1 cannot be resolved on a machine without IPv6 (AI_ADDRCONFIG, getaddrinfo(3)).
_RELAY = f"""\
unset NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID LISTEN_PIDFDID
end=":$(printf %04X "$1") 0+:0+ 0A "
four="^ *[0-9]+: (0100007F|00000000|0{{16}}FFFF00000100007F|0{{32}})"
six="^ *[0-9]+: 0{{24}}01000000"
passes=0
while :; do
    if grep -Eqs "$four$end" /proc/self/net/tcp /proc/self/net/tcp6; then
        host=127.0.0.1
        break
    elif grep -Eqs "$six$end" /proc/self/net/tcp6; then
        host=::1
        break
    fi
    passes=$((passes + 1))
    [ "$passes" -lt 50 ] && sleep 0.02 || sleep 0.2
done
ulimit -n "$(ulimit -H -n)"
export LISTEN_PID=$$
# The address is split at the last colon, so IPv6 has no brackets.
exec {PROXY} --connections-max={_MOST_CONNECTIONS} "$host:$1"
"""
