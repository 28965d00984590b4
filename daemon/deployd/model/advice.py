"""The commands that sentences advise, which are pasted as they are: in user mode they have --user.

Which mode it is belongs to the whole process, like the language of its messages: `use` is called once, at its start.
"""

from __future__ import annotations

from deployd.model.scope import SYSTEM, Scope


class _Used:
    scope: Scope = SYSTEM


def use(scope: Scope) -> None:
    """Advise commands of this scope from now on."""
    _Used.scope = scope


def deployd() -> str:
    """Return the beginning of a command line of deployd(1)."""
    return " ".join(("deployd", *_Used.scope.option))


def systemctl() -> str:
    """Return the beginning of a command line of systemctl(1)."""
    return " ".join(("systemctl", *_Used.scope.option))


def journalctl() -> str:
    """Return the beginning of a command line of journalctl(1)."""
    return " ".join(("journalctl", *_Used.scope.option))
