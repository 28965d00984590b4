"""The choice of a preset, and the programs and numbers that come from the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployd.errors import Refused
from deployd_cli.presets import proposing
from deployd_cli.presets.facts import Facts, Found
from deployd_cli.presets.installed import with_programs
from deployd_cli.presets.preset import Guess
from tests.presets.projects import CATALOG


@pytest.fixture
def release(tmp_path: Path) -> Path:
    directory = tmp_path / "v1"
    directory.mkdir()
    return directory


def test_a_named_preset_wins(release: Path) -> None:
    (release / "requirements.txt").write_text("gunicorn\nuvicorn\n")
    choice = proposing.choose(CATALOG, release, "uvicorn")
    assert (choice.preset.name, choice.reason, choice.others) == ("uvicorn", "requirements.txt names uvicorn", ())
    best = proposing.choose(CATALOG, release, "")
    assert best.preset.name == "gunicorn"
    [line] = [line for line in best.lines(()) if line.startswith("also")]
    assert line == "also possible: --preset uvicorn (requirements.txt names uvicorn)"


def test_a_release_that_cannot_be_read_needs_a_preset(release: Path) -> None:
    nowhere = release / "no"
    with pytest.raises(Refused, match="or a preset with --preset NAME"):
        proposing.choose(CATALOG, nowhere, "")
    lines = list(proposing.choose(CATALOG, nowhere, "puma").lines({"probe"}))
    assert f"nothing of the release was read: the release {nowhere} cannot be read: No such file or directory" in lines


def test_the_number_of_instances() -> None:
    choice = proposing.Choice(CATALOG.get("puma"), "", Facts())
    assert [proposing.instances(choice, processors) for processors in (1, 4, 128)] == [2, 4, 16]
    assert proposing.instances(replace(choice, preset=CATALOG.get("nginx")), 64) == 2
    facts = Facts(values={"instances": Found("5", "ecosystem.config.js")})
    assert proposing.instances(replace(choice, facts=facts), 64) == 5


def test_programs_of_the_machine(tmp_path: Path) -> None:
    for name in ("fpm7.4", "fpm8.2"):
        (tmp_path / name).touch()
    patterns = (f"{tmp_path}/no", f"{tmp_path}/fpm[0-9]*")
    preset = replace(
        CATALOG.get("php-fpm"), guesses={"fpm": Guess("x", "y", patterns), "other": Guess("x", "y", ("/no/x",))}
    )
    found = with_programs(Facts(), preset).values
    assert {name: value.content for name, value in found.items()} == {"fpm": f"{tmp_path}/fpm8.2"}
    own = Facts(values={"fpm": Found("bin/fpm", "bin/fpm")})
    assert with_programs(own, preset) == own
