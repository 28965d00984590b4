"""Paths through the link that `release` follows: what is refused, what is warned of, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployd.config.release_link import require_own_programs
from deployd.errors import Refused
from deployd.model.app import App
from tests.config.app_text import parse


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two releases, of which `current` leads to the second, and what they share."""
    for place in ("releases/v1/bin", "releases/v2/bin", "shared/venv/bin", "tools"):
        (tmp_path / place).mkdir(parents=True)
    for program in ("releases/v1/bin/serve", "releases/v2/bin/serve", "shared/venv/bin/python", "tools/serve"):
        (tmp_path / program).write_text("#!/bin/sh\n")
    (tmp_path / "current").symlink_to("releases/v2")
    (tmp_path / "tools/alias").symlink_to("../current/bin")
    for version in ("v1", "v2"):
        (tmp_path / "releases" / version / "venv").symlink_to(tmp_path / "shared/venv")
    return tmp_path


def app(shop: Path, program: str, **settings: object) -> App:
    return replace(parse(), release=f"{shop}/current", exec=(program.replace("SHOP", str(shop)), "x"), **settings)  # type: ignore[arg-type]


def doubts(shop: Path, program: str = "bin/serve", **settings: object) -> tuple[str, ...]:
    return require_own_programs(app(shop, program, **settings), f"{shop}/releases/v1")


@pytest.mark.parametrize(
    "program", ["SHOP/current/bin/serve", "SHOP/tools/alias/serve", "SHOP/current/bin/../bin/serve"]
)
def test_a_program_reached_through_the_link_is_refused(shop: Path, program: str) -> None:
    with pytest.raises(Refused, match=rf"exec of web leads through {shop}/current \(.*serve\), .*write "):
        doubts(shop, program)


@pytest.mark.parametrize(
    "program",
    ["bin/serve", "SHOP/releases/v1/bin/serve", "SHOP/tools/serve", "SHOP/current/venv/bin/python", "/usr/bin/python3"],
)
def test_other_programs_are_not(shop: Path, program: str) -> None:
    assert doubts(shop, program) == ()


def test_a_release_that_is_no_link_has_none(shop: Path) -> None:
    given = replace(app(shop, "SHOP/current/bin/serve"), release=f"{shop}/releases/v1")
    assert require_own_programs(given, f"{shop}/releases/v1") == ()


def test_an_interpreter_reached_through_the_link_is_refused(shop: Path) -> None:
    (shop / "releases/v1/bin/serve").write_text(f"#!{shop}/current/bin/python -E\n")
    with pytest.raises(Refused, match=r'the #! line of bin/serve .* run it as "bin/python bin/serve", both taken from'):
        doubts(shop)
    # As pip writes it where the path is too long for a line.
    (shop / "releases/v1/bin/serve").write_text(f"#!/bin/sh\n'''exec' {shop}/current/bin/python \"$0\" \"$@\"\n' '''\n")
    (warning,) = doubts(shop)
    assert warning.startswith(f"the script bin/serve names {shop}/current, which leads to another release")


def test_libraries_and_commands_of_systemd_count_too(shop: Path) -> None:
    with pytest.raises(Refused, match=r'environment.PYTHONPATH of web .* write "lib:/usr/lib"'):
        doubts(shop, environment=(("PYTHONPATH", f"{shop}/current/lib:/usr/lib"),))
    with pytest.raises(Refused, match=r"\[service\] ExecStartPre of web .* write /bin/sh -c 'exec bin/serve'"):
        doubts(shop, service=(("ExecStartPre", (f"-{shop}/current/bin/serve --warm",)),))


def test_what_may_matter_is_warned_of(shop: Path) -> None:
    link = f"{shop}/current"
    found = doubts(
        shop,
        environment=(("VIRTUAL_ENV", f"{link}/venv"), ("OTHER", f"{link}-old/x {shop}/currents"), ("ROOT", link)),
        environment_files=(f"{link}/.env",),
        environment_contents=(f"A=1\nHOME={link}\n",),
    )
    names = [sentence.split(" names ")[0] for sentence in found]
    assert names == ["environment.VIRTUAL_ENV", "environment.ROOT", "environment_files", "HOME in environment_files"]
