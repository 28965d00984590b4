"""The files of a guest: the interpreter of .venv and its library, pytest, this checkout, and init.py as /init.

Paths are those of this machine, so that the interpreter finds its library; only the checkout is elsewhere. Compiled
files come along, because an emulated processor takes long to compile.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import BinaryIO

from packaging.requirements import Requirement

from tests.host.root import CHECKOUT
from tests.kernel import init
from tests.kernel.cpio import Archive
from tests.kernel.package import Kernel

DISTRIBUTIONS = ("pytest", "pytest-timeout", "hypothesis")
CHECKOUT_FILES = ("daemon", "tests/__init__.py", "tests/any_load.py", "tests/reuseport", "pyproject.toml")
LEFT_OUT = {
    *("test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "tkinter", "turtledemo"),
    *("lib2to3", "ensurepip", "pydoc_data"),
}
"""Large directories of Python's library that no test imports."""
EXTENSIONS_LEFT_OUT = ("_tkinter", "_test", "_ctypes_test", "xx")
"""Extension modules of that library, by their first letters: they need shared libraries that no test needs."""
TERMINAL = (5, 1)
"""The device number of /dev/console."""


def write(file: BinaryIO, kernel: Kernel, arguments: Sequence[str]) -> None:
    """Write the archive of a guest that calls Python with these arguments."""
    archive = Archive(file)
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    extensions = _add_library(archive, Path(sysconfig.get_path("stdlib")))
    archive.add(python)
    for found in map(distribution, _closure(DISTRIBUTIONS)):
        extensions += _add_distribution(archive, found)
    for library in _libraries([python, *extensions]):
        archive.add(library)
    for name in CHECKOUT_FILES:
        _add_tree(archive, CHECKOUT / name, Path(init.CHECKOUT) / name)
    modules = {f"/modules/{path.name}": path for path in kernel.modules}
    for name, path in modules.items():
        archive.add(path, name)
    orders = {"modules": list(modules), "python": str(python), "arguments": list(arguments)}
    archive.add_bytes(init.ORDERS, json.dumps(orders).encode())
    archive.add_bytes("/init", f"#!{python}\n".encode() + Path(init.__file__).read_bytes(), 0o755)
    for directory in (*init.MOUNTS.values(), "/root"):
        archive.add_directory(directory)
    archive.add_character_device("/dev/console", *TERMINAL)
    archive.close()


def _add_library(archive: Archive, library: Path) -> list[Path]:
    """Add Python's own library, and return its extension modules."""
    extensions = []
    for path in _files(library, LEFT_OUT | {path.name for path in library.glob("config-*")}):
        if path.suffix == ".so":
            if path.name.startswith(EXTENSIONS_LEFT_OUT):
                continue
            extensions.append(path)
        archive.add(path)
    return extensions


def _add_distribution(archive: Archive, found: Distribution) -> list[Path]:
    """Add the files of an installed package, and return its extension modules."""
    extensions = []
    for name in found.files or ():
        path = Path(str(found.locate_file(name)))
        if ".." in name.parts or not path.exists():
            continue  # a program outside of the library
        archive.add(path, Path(init.PACKAGES) / name)
        if path.suffix == ".so":
            extensions.append(path)
    return extensions


def _add_tree(archive: Archive, path: Path, to: Path) -> None:
    for one in [path] if path.is_file() else _files(path, set()):
        archive.add(one, to / one.relative_to(path))


def _files(directory: Path, left_out: set[str]) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - left_out)
        for name in sorted(names):
            if not name.endswith((".opt-1.pyc", ".opt-2.pyc", ".a")):
                yield Path(parent, name)


def _closure(names: Iterable[str]) -> set[str]:
    """Return the names of packages with those that they require here."""
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in map(Requirement, distribution(name).requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return found


def _libraries(programs: Sequence[Path]) -> list[Path]:
    """Return the shared libraries of programs and extension modules, and the dynamic linker (ldd(1))."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True, timeout=60).stdout
    return [Path(name) for name in sorted(set(re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE)))]
