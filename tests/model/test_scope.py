"""The scopes: where the directories of a user are, and which commands messages advise there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model import advice
from deployd.model.scope import SYSTEM, of_user
from deployd_cli.text.probation import resumed_words

HOME = "/people/dora"
VARIABLES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")


@pytest.fixture
def advising_users() -> Iterator[None]:
    advice.use(of_user(1000, HOME, {}))
    yield
    advice.use(SYSTEM)


def test_the_directories_of_a_user_are_those_of_the_xdg_specification() -> None:
    scope = of_user(1000, HOME, {})
    assert scope.apps == Path(HOME, ".config/deployd/apps")
    assert scope.state == Path(HOME, ".local/state/deployd")
    assert scope.units == Path(HOME, ".config/systemd/user")
    assert scope.runtime == Path("/run/user/1000/deployd")
    assert scope.bus == "unix:path=/run/user/1000/bus"
    assert scope.journal.of_manager["_UID"] == "1000"
    moved = of_user(
        1000, HOME, {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "relative", "DBUS_SESSION_BUS_ADDRESS": "x"}
    )
    assert (moved.apps, moved.state, moved.bus) == (Path("/c/deployd/apps"), scope.state, "x")


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0"))))
def test_a_user_writes_to_no_directory_of_the_system(environment: dict[str, str]) -> None:
    scope = of_user(1000, HOME, environment)
    paths = [value for item in fields(scope) if isinstance(value := getattr(scope, item.name), Path)]
    assert all(path.is_absolute() for path in paths)
    if not environment:
        assert not {scope.state, scope.runtime, scope.units, scope.runtime_units} & {
            SYSTEM.state,
            SYSTEM.runtime,
            SYSTEM.units,
            SYSTEM.runtime_units,
        }


def test_drop_ins_of_the_administrator_are_looked_for_in_all_directories_of_units() -> None:
    scope = of_user(1000, HOME, {})
    assert {Path("/etc/systemd/user"), scope.units, scope.runtime_units, *scope.control} <= set(scope.all_units)


@pytest.mark.usefixtures("advising_users")
def test_messages_of_a_user_advise_commands_of_that_user() -> None:
    assert resumed_words({}, "demo").endswith("follow it with: deployd --user status demo --watch")
    assert (advice.systemctl(), advice.journalctl()) == ("systemctl --user", "journalctl --user")


def test_messages_of_the_system_advise_commands_without_options() -> None:
    assert (advice.deployd(), advice.systemctl(), advice.journalctl()) == ("deployd", "systemctl", "journalctl")
