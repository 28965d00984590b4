"""The presets that deployd ships, and what is refused in one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from deployd.errors import DeploydError, ExitStatus, InvalidFile, InvalidRequest
from deployd_cli.presets import catalog
from deployd_cli.presets.preset import Guess, Preset, Rule, parse
from tests.docs import readme
from tests.presets.projects import CATALOG

GOOD = """
title = "Thing"
summary = "things"
socket = "port"
gate = "probe"
keep_alive = "yes"
websockets = "no"
stop = "SIGTERM"
versions = "1"
"""


def test_every_folder_is_a_preset_with_a_template() -> None:
    [shipped] = [directory for directory in CATALOG.directories if directory != catalog.OWN]
    folders = {path.name for path in shipped.iterdir() if path.is_dir()}
    assert folders == set(CATALOG.presets)
    assert not [name for name in folders if not (shipped / name / "app.toml.j2").is_file()]


@pytest.mark.parametrize("name", CATALOG.presets)
def test_texts_are_short_and_notes_are_sentences(name: str) -> None:
    preset = CATALOG.presets[name]
    assert len(preset.title) <= 32
    assert len(preset.summary) <= 64
    assert len(preset.gate) <= 32
    assert not [note for note in preset.notes if not note.endswith(".")]
    assert not [guess.what for guess in preset.guesses.values() if guess.what.endswith(".")]


def test_an_unknown_preset_is_refused_with_the_closest_one() -> None:
    with pytest.raises(InvalidRequest, match=r'there is no preset "gunicron"; did you mean gunicorn\?') as caught:
        CATALOG.get("gunicron")
    assert caught.value.exit_status == ExitStatus.USAGE
    with pytest.raises(InvalidRequest, match="deployd presets lists them"):
        CATALOG.get("zzz")


def test_presets_of_the_administrator_win(tmp_path: Path) -> None:
    for name in ("puma", "thing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "preset.toml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no preset")
    found = catalog.load(tmp_path)
    assert (found.get("puma").title, found.get("thing").title) == ("Thing", "Thing")
    assert found.get("uvicorn") == CATALOG.get("uvicorn")
    assert found.directories[0] == tmp_path


def test_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "thing/preset.toml"
    file.parent.mkdir()
    file.write_bytes(b'title = "\xff"')
    with pytest.raises(InvalidFile, match=f"^{file}: is not UTF-8 text; save it as UTF-8$"):
        catalog.load(tmp_path)


def test_presets_that_are_missing_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalog, "SHIPPED", (tmp_path / "nowhere",))
    with pytest.raises(DeploydError, match="the presets of deployd are missing; install deployd again"):
        catalog.load(tmp_path)


def test_a_good_one_has_defaults() -> None:
    preset = parse("thing", GOOD, "f")
    assert (preset.notes, preset.rules, preset.instances, preset.serves_all, dict(preset.guesses)) == (
        (),
        (),
        0,
        False,
        {},
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title =", "f: is not valid TOML: "),
        (GOOD.replace('title = "Thing"', ""), 'f: title: must be one line of text; write it as title = "…"'),
        (GOOD.replace('"Thing"', '"a\\nb"'), "f: title: must be one line of text"),
        (GOOD.replace('"port"', '"udp"'), 'f: socket: must be one of inherited, port, either, none, not "udp"'),
        (GOOD + "colour = 1", "f: colour: unknown key; allowed are detect, gate, "),
        (GOOD + "serves_all = 1", "f: serves_all: must be true or false"),
        (GOOD + "instances = -1", "f: instances: must be a number from 0 to 500"),
        (GOOD + "notes = [1]", 'f: notes: must be an array of texts; write it as notes = ["…"]'),
        (GOOD + 'requires = "puma"', 'f: package: "puma" is no package; write ECOSYSTEM:NAME, with go, java'),
        (GOOD + "[[detect]]\nrank = 1", "f: detect[0].detect: has no condition; add package, file, command"),
        (GOOD + '[[detect]]\nfile = "x"', "f: detect[0].rank: must be a number from 1 to 99"),
        (GOOD + '[detect]\nfile = "x"', "f: detect: must be tables; write each as [[detect]]"),
        (GOOD + '[values]\nx = "y"', "f: values: must be tables; write each as [values.NAME]"),
        (GOOD + '[values.x]\ndefault = "y"', "f: values.x.what: must be one line of text"),
        (GOOD + '[[measured]]\nserver = "x"', "f: measured[0].routing: must be one line of text"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse("thing", text, "f")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_name_has_no_capitals() -> None:
    with pytest.raises(InvalidFile, match="rename Thing"):
        parse("Thing", GOOD, "f")


def test_the_readme_has_every_key_and_value() -> None:
    text = (readme.CHECKOUT / "presets/README.md").read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    preset = parse("puma", example, "README.md")
    assert not [
        field.name for field in fields(Preset) if field.name not in {"name"} and not getattr(preset, field.name)
    ]
    assert not [field.name for field in fields(Rule) if not getattr(preset.rules[0], field.name)]
    assert not [field.name for field in fields(Guess) if not getattr(preset.guesses["probe"], field.name)]
