"""Converters of values: time spans, memory, addresses, signals, and arbitrary input."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config import values
from deployd.config.gate import http_path
from deployd.config.pace import commands, pauses
from deployd.config.source import Problem
from deployd.model.pace import Memory, Order
from tests.config.app_text import parse, refusal

STEERED = 'routing = "steered"\n'


@pytest.mark.parametrize(
    ("written", "memory"),
    [
        ("0", Memory(0)), ("1073741824", Memory(1 << 30)), ('"4096"', Memory(4096)), ('"1K"', Memory(1024)),
        ('"2G"', Memory(2 << 30)), ('"1T"', Memory(1 << 40)), ('"0%"', Memory(0, percent=True)),
        ('"100%"', Memory(100, percent=True)),
    ],
)  # fmt: skip
def test_memory(written: str, memory: Memory) -> None:
    assert parse(f"{STEERED}[rollout]\nstandby_memory = {written}").pace.standby_memory == memory


@pytest.mark.parametrize("written", ['"101%"', '"-1"', "-1", '"1.5G"', '"1k"', '"M"', '"1024T"', "true", "1.5", "[]"])
def test_invalid_amounts_of_memory(written: str) -> None:
    assert 'such as "50%", or bytes such as "512M"' in refusal(f"{STEERED}[rollout]\nstandby_memory = {written}")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"60s"', 60), ('"250ms"', 0.25), ('"30min"', 1800), ('"1h"', 3600), ('"1min 30s"', 90), ('"1min30s"', 90),
        ('" 2 hours 5 minutes "', 7500), ('"1.5s"', 1.5), ("45", 45), ("0.5", 0.5), ('"45"', 45), ('"500000us"', 0.5),
        ('"1d"', 86400),
    ],
)  # fmt: skip
def test_time_spans(written: str, seconds: float) -> None:
    assert parse(f"[gate]\ntimeout = {written}").gate.timeout == seconds


def test_zero_is_a_time_span_for_min_ready() -> None:
    assert parse("[gate]\nmin_ready = 0").gate.min_ready == 0


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("8080", "8080"), ('"8080"', "8080"), ('"080"', "80"), ('"0.0.0.0:1"', "0.0.0.0:1"),
        ('"[0:0:0:0:0:0:0:1]:65535"', "[::1]:65535"), ('"/run//a/./b"', "/run/a/b"),
    ],
)  # fmt: skip
def test_addresses_are_normalised(written: str, address: str) -> None:
    assert [listen.address for listen in parse(listen=f"[{written}]").listen] == [address]


@pytest.mark.parametrize("written", ["SIGTERM", "TERM", "SIGRTMIN", "SIGRTMIN+3", "RTMAX-1", "SIGUSR2"])
def test_signals(written: str) -> None:
    assert parse(f'[stop]\nsignal = "{written}"').stop.signal == f"SIG{written.removeprefix('SIG')}"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "convert",
    [
        values.string, values.plain, values.path, values.environment_file, values.argv, values.amount, values.signal,
        values.account, values.integer(0, 5), values.duration(0, 5), values.choice(Order), values.boolean,
        config.address.addresses, http_path, pauses, commands,
    ],
    ids=lambda convert: convert.__qualname__,
)  # fmt: skip
@given(raw=json)
def test_converters_raise_nothing_but_problem(convert: Any, raw: Any) -> None:
    with contextlib.suppress(Problem):
        convert(raw)
