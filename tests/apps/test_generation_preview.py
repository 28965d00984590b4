"""The files of the next generation next to those of the live one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deployd.apps.generation_preview import preview
from deployd.config.environment_syntax import without_values
from deployd.documents import Json
from deployd.model.app import App
from deployd.model.timer import Timer
from deployd.state.pins import Pins
from deployd.units.text import credentials, generation_files
from tests.state.four_rollouts import SETTINGS

LIVE = replace(
    SETTINGS,
    environment=(("MODE", "live"), ("TOKEN", "secret one")),
    environment_files=("/etc/default/demo",),
    environment_contents=("# old: secret two\nDB=secret three\nURL='a\nb'\n",),
    credentials=(("/etc/demo.key", "d1"),),
)


def digest(data: bytes) -> str:
    return hashlib.sha256(b"key" + data).hexdigest()


def previewed(tmp_path: Path, app: App, release: str = "/srv/demo/7", *, names: bool = True) -> dict[str, Json]:
    """Return the files that differ from those of the generation 7, by name."""
    pins = Pins(tmp_path)
    pins.write_generation("demo", 7, generation_files(LIVE, 7, "/srv/demo/7", 7), "/srv/demo/7", credentials(LIVE))
    directory = pins.generation_dir("demo", 7)
    (directory / "generation.json").write_text("{}")
    files = preview(app, 7, release, directory=directory, digest=digest, names=names)
    assert [item["name"] for item in files] == sorted(item["name"] for item in files)
    assert "secret" not in str(files)
    return {item["name"]: item for item in files if item["text"] != item["installed"]}


def test_the_same_settings_and_release_make_no_difference(tmp_path: Path) -> None:
    assert previewed(tmp_path, replace(LIVE, instances=9)) == {}
    assert previewed(tmp_path, LIVE, names=False) == {}


def test_each_file_shows_what_changes(tmp_path: Path) -> None:
    found = previewed(tmp_path, replace(LIVE, exec=("/bin/other",)), "/srv/demo/8")
    assert set(found) == {"run", "environment", "release"}
    assert "exec '/bin/other'" in found["run"]["text"]
    assert (found["release"]["link"], found["release"]["installed"]) == (True, "/srv/demo/7")
    assert found["release"]["text"] == "/srv/demo/8"
    assert 'DEPLOYD_RELEASE="/srv/demo/8"\n' in found["environment"]["text"]
    found = previewed(tmp_path, replace(LIVE, credentials=(("/etc/demo.key", "d2"),)))
    assert {name: item["text"] for name, item in found.items()} == {"credential-001": "../../credentials/d2"}


def test_a_changed_value_is_seen_and_not_shown(tmp_path: Path) -> None:
    found = previewed(tmp_path, replace(LIVE, environment=(("MODE", "live"), ("TOKEN", "secret four"))))
    before, after = (found["environment"][key].splitlines() for key in ("installed", "text"))
    assert [line.partition("=")[0] for line in after] == [line.partition("=")[0] for line in before]
    (changed,) = set(after) - set(before)
    assert changed.startswith("TOKEN=(hidden, ")
    found = previewed(tmp_path, replace(LIVE, environment_contents=("DB=x\n", "A=1\n")))
    assert found["environment-002"]["installed"] is None
    assert [line.partition("=")[0] for line in found["environment-001"]["installed"].splitlines()] == ["DB", "URL"]


def test_names_of_environment_files_are_for_root(tmp_path: Path) -> None:
    found = previewed(tmp_path, replace(LIVE, environment_contents=("DB=x\n",)), names=False)
    assert "DB" not in str(found)
    assert found["environment-001"]["text"] != found["environment-001"]["installed"]


def test_the_files_of_timers_hide_values_as_well(tmp_path: Path) -> None:
    timer = Timer(name="nightly", schedule=("daily",), exec=("/bin/x",), environment=(("TOKEN", "secret five"),))
    for names in (True, False):
        found = previewed(tmp_path, replace(LIVE, timers=(timer,)), names=names)
        assert found.keys() == {"run.nightly", "environment.nightly"}
        assert "exec '/bin/x'" in found["run.nightly"]["text"]
        assert ("TOKEN" in found["environment.nightly"]["text"]) is names


def test_nothing_is_installed_before_the_first_rollout(tmp_path: Path) -> None:
    files = preview(LIVE, 1, "/srv/demo/7", directory=tmp_path / "none", digest=digest, names=True)
    assert {item["installed"] for item in files} == {None}


@given(st.text(alphabet="AB=\"'\\ \n#;x"))
def test_no_value_is_left(text: str) -> None:
    shown = without_values(text, lambda _, value: "-" if "x" in value else "+")
    assert "x" not in "".join(line.partition("=")[2] for line in shown.splitlines())
