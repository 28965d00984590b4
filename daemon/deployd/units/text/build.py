"""The files of a build, and the script that it runs. Pure.

A build is a filter: it gets the release as an archive on its standard input, and the completed release leaves it as an
archive on its standard output. So all that touches files of the build runs as the user of the app, and the owner of the
finished release unpacks it with the usual checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployd.model.app import CAPTURED, App
from deployd.units.text.escape import assignment, shell
from deployd.units.text.generation import captured

_BEGIN = """\
exec 3>&1 >&2 || exit
find . -mindepth 1 -delete || exit
tar --extract --no-same-owner --file=- || exit
exec </dev/null
"""
_END = "exec tar --create --file=- . >&3\n"


def build_files(app: App, release: str) -> dict[str, str]:
    """Return the environment files of a build, to be read by systemd in the order of their names; name to text."""
    ours = (("DEPLOYD_APP", app.name), ("DEPLOYD_RELEASE", release))
    texts = {f"{CAPTURED}{number:03}": text for number, text in enumerate(captured(app), 1)}
    return {**texts, "environment": "".join(assignment(key, value) for key, value in (*app.environment, *ours))}


def build_script(commands: Sequence[Sequence[str]]) -> str:
    """Return the script, for sh in an empty directory. It exits as the first command that fails.

    A program without a slash is looked up in PATH; none of the commands is a builtin of the shell.
    """
    return _BEGIN + "".join(map(_command, commands)) + _END


def _command(argv: Sequence[str]) -> str:
    words = " ".join(map(shell, argv))
    return f"printf '%s\\n' {shell('$ ' + ' '.join(argv))}\n(exec 3>&- {words}) || exit\n"
