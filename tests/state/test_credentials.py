"""Copies of credentials: who can read them, and how long they last."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployd.errors import StateError
from deployd.model.clock import Timestamp
from deployd.model.generation import Result
from deployd.model.rollout import Rollout
from deployd.state.credentials import Credentials
from deployd.state.disk import Disk
from deployd.state.ends import Beginning, Ending
from deployd.state.pins import Pins
from tests.state.four_rollouts import generation
from tests.state.site import Site


def test_only_root_can_read_what_digests_do_not_reveal(tmp_path: Path) -> None:
    store = Credentials(tmp_path, Disk())
    digest = store.keep("web", b"secret")
    assert (store.has("web", digest), store.has("web", store.digest(b"other"))) == (True, False)
    copy = tmp_path / "apps/web/credentials" / digest
    modes = [path.stat().st_mode & 0o777 for path in (copy, copy.parent, tmp_path / "credentials.key")]
    assert (copy.read_bytes(), modes) == (b"secret", [0o600, 0o700, 0o600])
    # Another daemon finds the key, another machine has another one.
    assert Credentials(tmp_path, Disk()).digest(b"secret") == digest
    assert Credentials(tmp_path / "other", Disk()).digest(b"secret") != digest


def test_a_copy_lasts_as_long_as_its_generation(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    store = pins.credentials
    store.prune("web", ())
    needed, linked, old = (store.keep("web", data) for data in (b"needed", b"linked", b"old"))
    links = {"credential-001": f"../../credentials/{linked}"}
    for _ in range(2):
        pins.write_generation("web", 1, {}, "/srv/1", links)
    pins.pin("web", 3, 1)
    assert (tmp_path / "apps/web/pins/3/credential-001").read_bytes() == b"linked"
    store.prune("web", {needed})
    assert [store.has("web", digest) for digest in (needed, linked, old)] == [True, True, False]
    pins.unpin("web", 3)
    pins.prune("web", set())
    store.prune("web", {needed})
    assert [path.name for path in (tmp_path / "apps/web/credentials").iterdir()] == [needed]


def test_the_history_says_which_are_needed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number, digest in ((4, "one"), (5, "two"), (6, "two")):
        made = generation(number)
        credentials = (("/etc/token", digest), ("/etc/missing", ""))
        settings = dataclasses.replace(made.settings, credentials=credentials)
        rollout = Rollout("demo", 2, number)
        site.history.begin_together([Beginning(dataclasses.replace(made, settings=settings), rollout)], Timestamp.now())
        site.history.finish_together([Ending(rollout, Result.SUCCEEDED, "")], Timestamp.now())
    assert site.history.credentials("demo") == {"one", "two", ""}
    assert site.history.credentials("other") == set()
    # Rows that are rebuilt may lack a generation.
    site.sql("UPDATE generations SET settings = '{}' WHERE app = 'demo' AND number = 6")
    site.reopened()
    with pytest.raises(StateError, match="deployd repair"):
        site.history.credentials("demo")
