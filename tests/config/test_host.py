"""deployd.toml: what it may say, and the sentence about what it may not."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployd.config.host import load_host, parse_host
from deployd.errors import InvalidFile
from deployd.model.host_drain import RolloutDrain

FILE = "/etc/deployd/deployd.toml"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", RolloutDrain()),
        ("[host]\n", RolloutDrain()),
        ("[host]\ndrain = true\n", RolloutDrain(None)),
        ("[host]\ndrain = false\ndrain_wait = 1\n", RolloutDrain(frozenset(), 1.0)),
        ('[host]\ndrain = ["shop"]\ndrain_wait = "1min 30s"\n', RolloutDrain(frozenset({"shop"}), 90.0)),
    ],
)
def test_settings(text: str, found: RolloutDrain) -> None:
    assert parse_host(text, FILE) == found
    waits = {app: found.wait_for(app) for app in ("shop", "blog")}
    assert waits["shop"] == (None if found.apps == frozenset() else found.wait)
    assert waits["blog"] == (found.wait if found.apps is None else None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[host]\ndrain = "yes"',
            ':2: host.drain: must be true, false or an array of apps, not a string; write true, or ["shop", "blog"]',
        ),
        (
            "[host]\ndrain = [1]",
            ':2: host.drain: has an integer; write the names of apps in quotes, as in ["shop", "blog"]',
        ),
        ('[host]\ndrain = ["a/b"]', ':2: host.drain: "a/b" cannot be the name of an app; '),
        ('[host]\ndrain_wait = "1h"', ":2: host.drain_wait: must be from 0 to 600 seconds, not 1h; "),
        ("[host]\nwait = 1", ":2: host.wait: unknown key in [host]; allowed are drain, drain_wait"),
        ("drain = true", ":1: drain: unknown key at the top level; it belongs in [host]"),
        ("host = 1", ":1: host: must be a table, not an integer; write it as [host]"),
        ("[host", ": is not valid TOML: "),
    ],
)
def test_mistakes(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse_host(text, FILE)
    assert str(caught.value).startswith(FILE + sentence), caught.value
    assert "\n" not in str(caught.value)


@pytest.fixture
def path() -> Iterator[Path]:
    """A file in a directory that only root can write, unlike those below /tmp."""
    with TemporaryDirectory(prefix="deployd-test-", dir="/etc") as made:
        Path(made).chmod(0o755)
        yield Path(made, "deployd.toml")


def test_the_file_may_be_missing_and_must_be_trusted(path: Path) -> None:
    assert load_host(path) == RolloutDrain()
    path.write_text("[host]\ndrain = true\n")
    assert load_host(path) == RolloutDrain(None)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IWOTH)
    with pytest.raises(InvalidFile, match="is not trusted, because everybody can write"):
        load_host(path)
    path.chmod(0o644)
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidFile, match="is not UTF-8 text; save it as UTF-8"):
        load_host(path)
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(InvalidFile, match="is larger than 64 KiB"):
        load_host(path)
