"""The key `releases` and the table [deploy]."""

from __future__ import annotations

import pytest

from deployd.model.app import App
from deployd.model.delivery import Delivery
from tests.config.app_text import parse, refusal

RELEASES = 'releases = "/srv/web/releases"\n'


def test_without_any_there_is_no_delivery() -> None:
    assert parse().delivery == Delivery()
    assert parse("[deploy]").delivery == Delivery()


def test_all_keys() -> None:
    commands = 'build = [["bin/build"], ["npm", "ci"]]\ntimeout = "1h"'
    paths = 'shared = ["log", "./public//uploads/", ".env"]\nassets = "public/assets"'
    table = f"[deploy]\n{commands}\n{paths}\nkeep = 5\ncurrent = true"
    found = parse(RELEASES + table).delivery
    assert found.releases == "/srv/web/releases"
    assert (found.build, found.timeout) == ((("bin/build",), ("npm", "ci")), 3600)
    assert found.shared_directory == "/srv/web/shared"
    assert found.shared == ("log", "public/uploads", ".env")
    assert (found.assets, found.keep, found.current) == ("public/assets", 5, "/srv/web")
    assert parse('[deploy]\ncurrent = "/srv/live"').delivery.current == "/srv/live"
    assert parse("[deploy]\ncurrent = false").delivery.current == ""


def test_it_is_no_setting_of_a_generation() -> None:
    plain, app = parse(), parse(RELEASES + "[deploy]\nkeep = 5")
    assert app.fingerprint("/srv/web") == plain.fingerprint("/srv/web")
    assert app == plain
    assert app.to_json() == plain.to_json()
    assert App.from_json(app.to_json()) == app


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('releases = "releases"', ':4: releases: must be an absolute path, not "releases"; start it with /'),
        ('releases = "/srv"', ':4: releases: must not be a directory at the top such as "/srv"; write one like'),
        (
            '[deploy]\nbuild = ["bin/build"]',
            ":5: deploy.build: must be an array of commands, each an array itself, not",
        ),
        ('[deploy]\nbuild = [["../x"]]', ':5: deploy.build: must not leave the release with ".."; write an absolute'),
        ("[deploy]\ntimeout = 0", ":5: deploy.timeout: must be from 1 to 86400 seconds, not 0"),
        ("[deploy]\nkeep = 0", ":5: deploy.keep: must be from 1 to 1000, not 0"),
        ("[deploy]\ncurrent = 1", ":5: deploy.current: must be true or the path of a symbolic link, not an integer;"),
        ('[deploy]\ncurrent = "current"', ':5: deploy.current: must be an absolute path, not "current"; start it'),
        ('[deploy]\nshared = ["log"]', ':5: deploy.shared: needs releases, next to which is the directory "shared"'),
        (f'{RELEASES}[deploy]\nshared = "log"', ':6: deploy.shared: must be an array, not a string; write it as ["lo'),
        (f'{RELEASES}[deploy]\nshared = ["/log"]', ":6: deploy.shared: must be a path inside the release, not"),
        (f'{RELEASES}[deploy]\nshared = ["a/../../log"]', ":6: deploy.shared: must be a path inside the release, not"),
        (f'{RELEASES}[deploy]\nshared = ["."]', ":6: deploy.shared: must be a path inside the release, not"),
        (f'{RELEASES}[deploy]\nshared = ["a\\nb"]', ":6: deploy.shared: must not contain the control character U+000A"),
        (f'{RELEASES}[deploy]\nshared = ["a/b", "a"]', ':6: deploy.shared: "a/b" is covered by "a"; remove one'),
        (f'{RELEASES}[deploy]\nshared = ["a", "./a"]', ':6: deploy.shared: "a" is covered by "a"; remove one'),
        ('[deploy]\nassets = "a"', ':5: deploy.assets: needs releases, next to which is the directory "shared"'),
        (f'{RELEASES}[deploy]\nshared = ["a"]\nassets = "a/b"', ':7: deploy.assets: overlaps with "a" of shared, to'),
        (f'{RELEASES}[deploy]\nshared = ["a/b"]\nassets = "a"', ':7: deploy.assets: overlaps with "a/b" of shared, to'),
        ('[deploy]\nreleases = "/x/y"', ":5: deploy.releases: unknown key in [deploy]; it belongs in the top level of"),
        ("keep = 5", ":4: keep: unknown key at the top level; it belongs in [deploy]"),
        ("[deploy]\nshard = []", ":5: deploy.shard: unknown key in [deploy]; did you mean shared?"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(more: str, sentence: str) -> None:
    assert refusal(more).startswith(sentence)
