"""What differs between two generations' settings, by the keys of the app file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from deployd import config
from deployd.model.app import App
from deployd.model.changes import changes
from tests.model.test_app import apps

BASE = 'release = "/srv/shop/current"\nexec = ["bin/server"]\nlisten = [8080]\n'
GOLDEN = sorted((Path(__file__).resolve().parents[1] / "units/golden").glob("*.toml"))


def app(more: str = "", base: str = BASE) -> App:
    return config.parse("shop", base + more, "shop.toml")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "instances = 4", [("instances", 1, 4, False)]),
        ("", 'user = "shop"', [("user", None, "shop", False)]),
        ('user = "shop"', "", [("user", "shop", None, False)]),
        ('environment = { A = "1", B = "2" }', 'environment = { A = "3" }', [("A", "1", "3"), ("B", "2", None)]),
        ('[service]\nMemoryMax = "1G"', '[service]\nMemoryMax = "2G"', [("service.MemoryMax", "1G", "2G", False)]),
        ("", '[rollout]\nmax_surge = "25%"', [("rollout.max_surge", 1, "25%", False)]),
        ("", '[rollout]\npause_after = [1, "50%"]', [("rollout.pause_after", None, [1, "50%"], False)]),
        ("", '[stop]\nsignal = "SIGQUIT"', [("stop.signal", "SIGTERM", "SIGQUIT", False)]),
        ("", "[gate]\ntimeout = 5", [("gate.timeout", None, 5.0, False)]),
        (
            "",
            '[gate]\nprobe = { http = "/up" }',
            [
                ("gate.probe.expect", None, 200, False),
                ("gate.probe.http", None, "/up", False),
                ("gate.probe.interval", None, 0.25, False),
                ("gate.probe.timeout", None, 2.0, False),
            ],
        ),
    ],
)
def test_a_change_is_named_by_its_key(before: str, after: str, expected: list[tuple[object, ...]]) -> None:
    expected = [(f"environment.{item[0]}", *item[1:], True) if len(item) == 3 else item for item in expected]
    assert [(item.key, item.before, item.after, item.secret) for item in changes(app(before), app(after))] == expected


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_settings_do_not_differ_from_themselves(file: Path) -> None:
    same = app(base=file.read_text(encoding="utf-8"))
    assert changes(same, App.from_json(same.to_json())) == ()


def test_what_was_learned_is_no_change() -> None:
    assert changes(app(), app().with_learned(20.0)) == ()


@given(apps, apps)
def test_settings_that_differ_differ_in_a_key_and_in_both_directions(before: App, after: App) -> None:
    there, back = changes(before, after), changes(after, before)
    assert [(item.key, item.before, item.after) for item in there] == [(i.key, i.after, i.before) for i in back]
    assert not [item for item in there if item.before == item.after]
