"""What check says of an app that could not start as its user, before systemd fails at it with a definite status."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.config import access
from deployd.config.access import require_runnable
from deployd.errors import Refused
from deployd.model.pace import Pace
from tests.state.four_rollouts import SETTINGS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes directories private")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release with programs, which all users can reach."""
    for directory in (tmp_path, *list(tmp_path.parents)[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    path = tmp_path / "v1"
    (path / "bin").mkdir(parents=True)
    for name, text in {
        "serve": "#!/bin/sh\n",
        "windows": "#!/bin/sh\r\n",
        "gone": "#!/usr/bin/rubyy\n",
        "env": "#!/usr/bin/env no-such-interpreter\n",
        "elf": "\x7fELF",
    }.items():
        (path / "bin" / name).write_text(text)
        (path / "bin" / name).chmod(0o755)
    return path


def refusal(release: Path, program: str = "bin/serve", **settings: Any) -> str:
    """Return why an app is refused, "" if it is not."""
    given: dict[str, Any] = {"user": "nobody", "group": None, "service": (), "environment": (), "environment_files": ()}
    app = replace(SETTINGS, release=str(release), exec=(program,), **(given | settings))
    try:
        require_runnable(app, str(release))
    except Refused as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"user": None}, ""),
        ({"user": "65534"}, ""),
        ({"user": "no-such-user"}, 'is "no-such-user", and this machine has no such user; create it or correct user'),
        (
            {"pace": Pace(preview_group="no-such-group")},
            'is "no-such-group", and this machine has no such group; create it or correct preview_group',
        ),
        ({"group": "no-such-group"}, 'is "no-such-group", and this machine has no such group'),
        ({"user": "no-such-user", "service": (("DynamicUser", ("yes",)),)}, ""),
        ({"program": "bin/elf"}, ""),
        ({"program": "bin/windows"}, "a script whose #! line ends in a carriage return"),
        ({"program": "bin/gone"}, "a script whose #! line names /usr/bin/rubyy: No such file or directory"),
        ({"program": "bin/env"}, "a script whose #! line names no-such-interpreter, which PATH does not lead to"),
        ({"program": "bin/env", "environment_files": ("/etc/default/shop",)}, ""),
    ],
)
def test_users_and_interpreters(release: Path, settings: dict[str, Any], expected: str) -> None:
    found = refusal(release, **settings)
    assert expected in found
    assert bool(found) == bool(expected)


def closed_release(release: Path) -> None:
    release.chmod(0o700)


def closed_parent(release: Path) -> None:
    release.parent.chmod(0o710)


def closed_bin(release: Path) -> None:
    (release / "bin").chmod(0o700)


def unreadable(release: Path) -> None:
    (release / "bin" / "serve").chmod(0o711)


def roots_only(release: Path) -> None:
    (release / "bin" / "serve").chmod(0o744)


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        (closed_release, "user nobody of demo cannot enter {release}, so no instance could start"),
        (closed_parent, "user nobody of demo cannot enter {parent}, so no instance could start"),
        (closed_bin, "which user nobody cannot reach"),
        (unreadable, "a script that user nobody may not read"),
        (roots_only, "which user nobody may not execute"),
    ],
)
def test_permissions(release: Path, close: Callable[[Path], None], expected: str) -> None:
    close(release)
    assert expected.format(release=release, parent=release.parent) in refusal(release)
    assert refusal(release, user=None) == "", "root may do everything"
    assert refusal(release, service=(("SupplementaryGroups", ("staff",)),)) == "", "it is not certain"


def test_nothing_is_said_of_an_app_with_drop_ins(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "UNIT_DIRECTORIES", (tmp_path,))
    assert refusal(release, user="no-such-user")
    (tmp_path / f"{SETTINGS.name}@.service.d").mkdir(parents=True)
    assert refusal(release, user="no-such-user") == ""
