"""A build is a filter of archives: the release goes in, the built one comes out, and its output is shown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import Busy, DeploydError, Refused
from deployd.units.text.build import build_script
from deployd_cli.delivery.building import LINES, BuildFailed, build
from deployd_cli.delivery.placing import place
from tests.delivery.test_entries import archive

RELEASE = Path("/srv/shop/releases/v1")


class Site:
    """A release, and what runs its build in place of the daemon: the script of the daemon in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.unpacked, self.built, self.own = (directory / name for name in ("unpacked", "built", "own"))
        for path in (self.unpacked, self.built, self.own):
            path.mkdir()
        (self.own / "rest").touch()  # of a build that was killed
        self.shown: list[str] = []
        (self.unpacked / "a b.txt").write_text("text")
        self.commands: Sequence[Sequence[str]] = ()

    def run(self, release: str, stdin: int, stdout: int, stderr: int) -> Mapping[str, Any]:
        argv = ["sh", "-c", build_script(self.commands)]
        done = subprocess.run(argv, cwd=self.own, stdin=stdin, stdout=stdout, stderr=stderr, check=False)
        reason = f"exited with status {done.returncode}"
        return {"succeeded": not done.returncode, "reason": reason, "exit_status": done.returncode, "release": release}

    def build(self, *commands: Sequence[str]) -> dict[str, Any]:
        self.commands = commands
        return build(self.run, self.shown.append, self.unpacked, self.built, RELEASE)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_commands_complete_a_release_and_their_output_is_shown(site: Site) -> None:
    (site.unpacked / "build").write_text(
        '#!/bin/sh\necho "$@"; cat; mkdir -p x/y; echo built >x/y/z; echo problem >&2\n'
    )
    (site.unpacked / "build").chmod(0o755)
    receipt = site.build(["./build", "a  b", "$HOME", "it's"], ["touch", "x/last"])
    assert site.shown == ["$ ./build a  b $HOME it's", "a  b $HOME it's", "problem", "$ touch x/last"]
    assert names(site.built) == ["a b.txt", "build", "x", "x/last", "x/y", "x/y/z"]
    assert (site.built / "x/y/z").read_text() == "built\n"
    assert (receipt["succeeded"], receipt["lines"]) == (True, [])
    assert os.access(site.built / "build", os.X_OK)
    times = [(path / "a b.txt").stat().st_mtime for path in (site.unpacked, site.built)]
    assert int(times[0]) == int(times[1])


def test_the_first_command_that_fails_ends_it(site: Site) -> None:
    with pytest.raises(BuildFailed) as failed:
        site.build(["seq", "30"], ["sh", "-c", "exit 7"], ["touch", "late"])
    sentence = "the build of /srv/shop/releases/v1 exited with status 7; nothing was rolled out"
    assert str(failed.value) == sentence
    receipt = failed.value.receipt
    assert (receipt["exit_status"], receipt["lines"][0], receipt["lines"][-1]) == (7, "12", "$ sh -c exit 7")
    assert len(receipt["lines"]) == LINES
    assert names(site.built) == []
    assert "late" not in names(site.own)


@pytest.mark.parametrize("command", ["nonexistent-program", "cd", "exit"])
def test_only_programs_are_commands(site: Site, command: str) -> None:
    with pytest.raises(BuildFailed, match="exited with status 127"):
        site.build([command])


def test_a_refusal_of_the_daemon_is_passed_on(site: Site) -> None:
    def refuse(*_: object) -> Mapping[str, Any]:
        raise Busy("a release of shop is being built")

    with pytest.raises(Busy):
        build(refuse, site.shown.append, site.unpacked, site.built, RELEASE)


@pytest.mark.parametrize("what", ["behind a link", "cut", "odd"])
def test_a_lie_of_the_apps_user_changes_nothing_elsewhere(site: Site, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = archive(("symlink", "l", str(outside)), ("file", "l/x", "x" * 5000)).getvalue()
    data = {"behind a link": data, "cut": data[:1500], "odd": b"x" * 100_000}[what]

    def lie(_: str, stdin: int, stdout: int, stderr: int) -> Mapping[str, Any]:
        subprocess.run(["cat"], stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr, check=True)
        subprocess.run(["cat"], input=data, stdout=stdout, check=True)
        return {"succeeded": True}

    with pytest.raises(Refused):
        build(lie, site.shown.append, site.unpacked, site.built, RELEASE)
    assert names(outside) == []


def test_a_release_is_built_once_and_a_failed_one_anew(site: Site, tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    releases.mkdir()
    fails = True
    builds = 0

    def once(unpacked: Path, built: Path, release: Path) -> Mapping[str, Any]:
        nonlocal builds
        builds += 1
        assert names(release) == [], "it stands for the release"
        if fails:
            raise BuildFailed(release, "failed", {})
        (built / "app.py").write_bytes((unpacked / "a b.txt").read_bytes())
        return {"succeeded": True}

    with pytest.raises(DeploydError):
        place(str(site.unpacked), "", releases, "v1", (), once)
    assert names(releases) == []
    fails = False
    placed = place(str(site.unpacked), "", releases, "v1", (), once)
    assert (placed.new, placed.build, names(releases)) == (True, {"succeeded": True}, ["v1", "v1/app.py"])
    again = place(str(site.unpacked), "", releases, "v1", (), once)
    assert (again.new, again.build, builds) == (False, None, 2)
