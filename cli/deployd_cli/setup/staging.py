"""packaging/install: installs the files of a checkout below a root, for packages, test hosts and make install.

Nothing is recorded, enabled or started: that is the job of a package, or of deployd setup.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deployd.errors import DeploydError
from deployd_cli.setup import contents, places, services, sources
from deployd_cli.setup.executor import Executor
from deployd_cli.setup.plan import plan

LATEST = 9999


def main(checkout: Path, argv: Sequence[str] | None = None) -> int:
    """Install, and return the exit status."""
    parser = argparse.ArgumentParser("install", description="Install deployd's files, without its Python code.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="install below this directory, as DESTDIR does")
    parser.add_argument("--prefix", default="/usr", help="/usr by default; dbus-daemon and polkit read no other")
    parser.add_argument("--command", default="", help="also make PREFIX/bin/deployd, which runs this. It is shell")
    parser.add_argument("--list", action="store_true", help="only print what would be installed")
    options = parser.parse_args(argv)
    prefix = options.prefix.rstrip("/")
    if options.root == Path():
        parser.error("--root must not be empty")
    if not prefix.startswith("/"):
        parser.error(f"--prefix must be an absolute path: {options.prefix}")
    try:
        install(checkout, options.root, places.system(prefix), options.command, only_list=options.list)
    except DeploydError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    return 0


def install(checkout: Path, root: Path, scope: places.Scope, command: str, *, only_list: bool = False) -> None:
    """Install the files of a checkout below a root, and say so. Raises DeploydError."""
    found, missing = sources.read(checkout, scope.sources)
    wanted = contents.files(scope, found, services.version(root) or LATEST, command)
    if only_list:
        print(*(file.destination for file in wanted), sep="\n")
        return
    executor = Executor(root)
    destinations = [file.destination for file in wanted]
    steps = plan(wanted, executor.present(destinations), frozenset(destinations))
    executor.directories([*scope.empty, *dict.fromkeys(str(Path(each).parent) for each in destinations)])
    executor.apply(steps)
    for page in missing:
        print(f"install: no manual page {page}: {sources.CONVERTER} is not installed", file=sys.stderr)
    where = "" if root == Path("/") else f" below {root}"
    print(f"install: {len(steps)} files are in {scope.directories['prefix']}{where}")
