"""The linters, and the rules of this code base that no linter knows, as tests.

A tool that is missing skips its test, but fails it where CI is set: there nothing may go unlooked at.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = (CHECKOUT / "daemon", CHECKOUT / "cli")
LONGEST_MODULE = 350
"""Lines."""
LONGEST_FUNCTION = 60
LARGEST_ROOM = 1 / 8
"""Of the lines of the daemon."""

# Written in parts, so that this file does not contain what it looks for.
REGISTRY_HOSTS = [
    re.compile(re.escape(".".join(name)))
    for name in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("pkg", "dev"),
    )
]
MACHINE_PATHS = [
    re.compile(r"(?<![\w.])/(?:home|Users)/\w+/"),
    re.compile(r"(?<![\w.}])/" + "root" + "/"),
    re.compile(r"\." + "pyenv" + r"\b"),
]
EXAMPLE_PLACES = {"etc", "opt", "srv", "tmp", "usr", "var"}  # what is below these is named in examples, too
PLAIN = ("ARCHITECTURE.md", "README.md", "cli", "daemon", "docs", "packaging/man", "presets", "templates", "units")
"""What is written in systemd's own terms, or in plain English where it has none."""
GONE = re.compile(
    # Not as a part of a longer word, but in names_with_underscores; in each case but that of an acronym.
    r"(?<![a-zA-Z])(?:"
    + "|".join(
        (
            r"beside",
            r"by itself",
            r"course",
            r"deals?",
            r"farewell",
            r"glances?",
            r"goes (?:back|on)",
            r"keeper",
            r"somebody",
            r"story",
            r"tall(?:y|ies)",
            r"tells?",
            r"tickets?",
            r"told",
            r"umbrella",
            r"way ?back",
            r"whoever",
            r"witness",
        )
    )
    + r")(?![a-zA-Z])",
    re.IGNORECASE,
)


def tool(name: str) -> str:
    """Where the program is: beside the running Python, or on the PATH."""
    found = shutil.which(name, path=os.fspath(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict(f"{name} is not installed")
    return found


def check(*argv: str | Path) -> None:
    """Run a linter in the checkout; what it says is the failure."""
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        pytest.fail(f"{Path(argv[0]).name} complains:\n{done.stdout}{done.stderr}", pytrace=False)


def tracked() -> list[Path]:
    """Every file that git knows and that is there."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([tool("git"), "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def shell_scripts() -> Iterator[tuple[Path, str]]:
    """Tracked shell scripts, each with the shell it asks for."""
    for path in tracked():
        with path.open("rb") as file:
            shebang = re.match(rb"#!\s*\S*?(?:/env\s+)?\b(sh|bash|dash)\b", file.readline())
        if shebang:
            yield path, shebang[1].decode()


def modules(*roots: Path) -> list[Path]:
    return sorted(path for root in roots for path in root.rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def name_of(path: Path) -> str:
    return os.fspath(path.relative_to(CHECKOUT))


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_ruff_finds_nothing() -> None:
    check(tool("ruff"), "check", ".")


def test_everything_is_formatted() -> None:
    check(tool("ruff"), "format", "--check", ".")


def test_types_hold() -> None:
    check(tool("mypy"))


def test_imports_point_one_way() -> None:
    check(tool("lint-imports"), "--cache-dir", ".cache/import-linter")


def test_shell_scripts_parse() -> None:
    scripts = list(shell_scripts())
    assert scripts
    for path, shell in scripts:
        check(tool(shell), "-n", path)


def test_shellcheck_finds_nothing() -> None:
    check(tool("shellcheck"), *(path for path, _ in shell_scripts()))


def test_no_tracked_file_names_a_registry_or_one_machine() -> None:
    mine = [path for path in (CHECKOUT, Path.home()) if len(path.parts) > 2 and path.parts[1] not in EXAMPLE_PLACES]
    here = [re.compile(re.escape(os.fspath(path)) + r"\b") for path in mine]
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for pattern in (*REGISTRY_HOSTS, *MACHINE_PATHS, *here):
            found += [f"{name_of(path)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found, "\n".join(found)


def test_every_module_says_what_it_owns() -> None:
    silent = [name_of(path) for path in modules(*SOURCES) if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert not silent


def test_no_module_grows_too_long() -> None:
    lengths = {name_of(path): lines(path) for path in modules(*SOURCES)}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_MODULE}


def test_no_function_grows_too_long() -> None:
    found = {}
    for path in modules(*SOURCES):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                found[f"{name_of(path)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert not {name: length for name, length in found.items() if length > LONGEST_FUNCTION}


def test_no_room_grows_too_large() -> None:
    daemon = CHECKOUT / "daemon/deployd"
    rooms = {room.name: sum(map(lines, modules(room))) for room in daemon.iterdir() if room.is_dir()}
    whole = sum(map(lines, modules(daemon)))
    assert not {room: size for room, size in rooms.items() if size > LARGEST_ROOM * whole}


def test_gone_words_stay_gone() -> None:
    found = []
    for path in tracked():
        name = name_of(path)
        if path.suffix == ".png" or not any(name == place or name.startswith(f"{place}/") for place in PLAIN):
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found += [f"{name}:{number}: {match[0]!r} in {line.strip()!r}" for match in GONE.finditer(line)]
    assert not found, "\n".join(found)


def test_only_the_bus_imports_dbus_next() -> None:
    bus = CHECKOUT / "daemon/deployd/bus"
    users = [path for path in modules(*SOURCES) if "dbus_next" in imported(path)]
    assert not [name_of(path) for path in users if path != bus.with_suffix(".py") and bus not in path.parents]


def test_at_most_two_modules_import_systemd_python() -> None:
    assert len([name_of(path) for path in modules(*SOURCES) if "systemd" in imported(path)]) <= 2


def test_no_module_is_named_for_nothing() -> None:
    everywhere = modules(*SOURCES, CHECKOUT / "tests")
    nondescript = re.compile(r"_*(utils?|utilities|helpers?|common|misc)(_.*)?$")
    assert not [name_of(path) for path in everywhere if any(map(nondescript.match, (path.stem, path.parent.name)))]
