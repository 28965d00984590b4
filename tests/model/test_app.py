"""Settings of an app are read back from the history, and its fingerprint changes with what needs a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.app import App, Drain, Listen, ListenKind, Routing, StopSettings
from deployd.model.gate import Gate
from deployd.model.pace import Amount, AnalysisSettings, Memory, OnFailure, Order, Pace
from tests.plan.worlds import amounts

text = st.text(max_size=8)
seconds = st.floats(0, 1e6)
directives = st.lists(st.tuples(text, st.lists(text, max_size=2).map(tuple)), max_size=2).map(tuple)

apps = st.builds(
    App,
    name=text,
    release=text,
    exec=st.lists(text, max_size=3).map(tuple),
    listen=st.lists(st.builds(Listen, st.sampled_from(ListenKind), text), max_size=2).map(tuple),
    instances=st.integers(1, 99),
    user=st.none() | text,
    group=st.none() | text,
    environment=st.lists(st.tuples(text, text), max_size=2).map(tuple),
    environment_files=st.lists(text, max_size=2).map(tuple),
    environment_contents=st.lists(text, max_size=2).map(tuple),
    credentials=st.lists(st.tuples(text, text), max_size=2).map(tuple),
    gate=st.builds(Gate, seconds, seconds),
    pace=st.builds(
        Pace,
        amounts(),
        amounts(),
        amounts(),
        st.sampled_from(Order),
        st.sampled_from(OnFailure),
        seconds,
        standby=seconds,
        standby_memory=st.builds(Memory, st.integers(0, 100), st.booleans()),
        analysis=st.none() | st.builds(AnalysisSettings, st.lists(text, max_size=3).map(tuple), seconds, seconds),
    ),
    stop=st.builds(StopSettings, text, seconds),
    service=directives,
    socket=directives,
    routing=st.sampled_from(Routing),
    warm_up=seconds,
    drain=st.builds(Drain, seconds, st.sampled_from(["", "SIGUSR1"]), st.sampled_from([(), ("bin/leave", "-q")])),
)

APP = App("shop", "/srv/shop/current", ("serve",), (Listen(ListenKind.TCP, "8080"),))


@given(apps)
def test_json_reads_back(app: App) -> None:
    again = App.from_json(app.to_json())
    assert again == app
    assert hash(again) == hash(app)
    assert again.to_json() == app.to_json()
    assert app.to_json().isascii()


@given(apps, text)
def test_a_fingerprint_survives_the_history(app: App, release: str) -> None:
    print_ = app.fingerprint(release)
    assert App.from_json(app.to_json()).fingerprint(release) == print_
    assert app.fingerprint(release + "x") != print_


@pytest.mark.parametrize(
    "change",
    [
        {"exec": ("serve", "-v")},
        {"user": "www-data"},
        {"group": "www-data"},
        {"environment": (("A", "1"),)},
        {"environment_files": ("/etc/default/shop",)},
        {"environment_contents": ("A=1",)},
        {"credentials": (("/etc/token", "digest"),)},
        {"service": (("MemoryMax", ("512M",)),)},
        {"routing": Routing.STEERED},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_the_process_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert replace(APP, **change).fingerprint("/r") != APP.fingerprint("/r")


@pytest.mark.parametrize(
    "change",
    [
        {"instances": 9},
        {"gate": Gate(min_ready=5.0)},
        {"gate": Gate(watchdog=5.0)},
        {"pace": Pace(max_surge=Amount(2), order=Order.OLDEST_FIRST)},
        {"stop": StopSettings(timeout=5.0)},
        {"warm_up": 9.0},
        {"drain": Drain(9.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_without_restart_keeps_the_fingerprint(change: dict[str, Any]) -> None:
    assert replace(APP, **change).fingerprint("/r") == APP.fingerprint("/r")


def test_memory_is_bytes_or_a_percentage_of_available_memory() -> None:
    assert Memory(4096).of(100) == 4096
    assert Memory(50, percent=True).of(1001) == 500


def test_values_are_separated_in_the_fingerprint() -> None:
    one = replace(APP, user="a", group=None).fingerprint("/r")
    assert one != replace(APP, user=None, group="a").fingerprint("/r")
    assert replace(APP, exec=("a b",)).fingerprint("/r") != replace(APP, exec=("a", "b")).fingerprint("/r")
