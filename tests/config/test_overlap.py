"""Addresses that cannot be open at the same time, compared with what the kernel says."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.config import overlap
from deployd.config.parse import parse
from deployd.errors import InvalidFile
from deployd.model.app import App, Listen, ListenKind

HOSTS = ("0.0.0.0", "127.0.0.1", "10.9.9.9", "[::]", "[::1]", "[fd00::9]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]")
PORT = 8080
BIND = """
import errno, itertools, json, socket, sys
hosts = json.loads(sys.argv[1])
def listen(host, only6):
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IP, 15, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
        made.setsockopt(socket.IPPROTO_IPV6, 78, 1)
    made.bind((host.strip("[]"), 8080))
    made.listen()
    return made
found = []
for only6 in (0, 1):
    for one, other in itertools.product(hosts, repeat=2):
        try:
            with listen(one, only6), listen(other, only6):
                found.append([one, other, only6, False])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                found.append([one, other, only6, True])
print(json.dumps(found))
"""
"""Binds every pair of HOSTS, with and without IPV6_V6ONLY, and prints which pairs the kernel refuses."""


def app(name: str, *addresses: str, **socket: str) -> App:
    listen = tuple(Listen(ListenKind.UNIX if "/" in item else ListenKind.TCP, item) for item in addresses)
    return App(name, "/srv", ("x",), listen, socket=tuple((key, (value,)) for key, value in socket.items()))


def test_the_kernel_refuses_the_same_pairs() -> None:
    argv = ["unshare", "--net", sys.executable, "-c", BIND, json.dumps(HOSTS)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    answers = json.loads(done.stdout)
    assert len(answers) > len(HOSTS) ** 2  # nearly all pairs can be tried: a mapped address cannot be IPv6 only
    for one, other, only6, refused in answers:
        a, b = (app(name, f"{host}:{PORT}") for name, host in (("a", one), ("b", other)))
        found = overlap.overlaps([a, b], only6=bool(only6))
        assert found.keys() == ({"a", "b"} if refused else set()), (one, other, only6)


TCP = st.builds(lambda host, port: f"{host}:{port}", st.sampled_from(HOSTS), st.sampled_from((80, 8080)))
ADDRESS = st.one_of(TCP, st.sampled_from(("80", "8080", "/run/a.sock", "/run/b.sock")))


@given(st.lists(ADDRESS, min_size=1, max_size=4), st.booleans())
def test_an_app_overlaps_if_two_of_its_addresses_do(addresses: list[str], only6: bool) -> None:
    pairs = itertools.combinations(addresses, 2)
    expected = any(overlap.overlaps([app("a", a), app("b", b)], only6=only6) for a, b in pairs)
    found = overlap.overlap(app("a", *addresses), only6=only6)
    assert (found is not None) is expected
    if found is not None:
        assert all(f'"{item.address}"' in overlap.sentence(*found) for item in found)


@given(ADDRESS, ADDRESS, st.booleans())
def test_apps_that_overlap_name_each_other(one: str, other: str, only6: bool) -> None:
    found = overlap.overlaps([app("a", one), app("b", other)], only6=only6)
    assert overlap.overlaps([app("b", other), app("a", one)], only6=only6) == found
    if found:
        for name, its, another in (("a", one, "b"), ("b", other, "a")):
            assert found[name][0] == another
            assert f'"{its}"' in found[name][1]
            assert f"the app {another}" in found[name][1]


@given(st.lists(st.lists(ADDRESS, min_size=1, max_size=3), max_size=6), st.booleans())
def test_every_app_that_overlaps_is_found(several: list[list[str]], only6: bool) -> None:
    apps = [app(f"a{number}", *addresses) for number, addresses in enumerate(several)]
    expected = {
        name
        for pair in itertools.combinations(apps, 2)
        if any(
            overlap.conflict(overlap.claim(a, (), only6=only6), overlap.claim(b, (), only6=only6))
            for a, b in itertools.product(pair[0].listen, pair[1].listen)
        )
        for name in (pair[0].name, pair[1].name)
    }
    found = overlap.overlaps(apps, only6=only6)
    assert found.keys() == expected
    assert all(other != name for name, (other, _) in found.items())


SHARED = 'routing = "shared"\n'
BOTH = 'release = "/srv/a"\nexec = ["x"]\nlisten = ["0.0.0.0:80", "[::]:80"]\n'


def test_an_app_file_with_both_families_is_refused() -> None:
    with pytest.raises(
        InvalidFile, match=r'listen.* "0\.0\.0\.0:80" and "\[::\]:80" cannot .* BindIPv6Only = "ipv6-only"'
    ):
        parse("a", BOTH + SHARED, "a.toml")


@pytest.mark.parametrize(
    ("more", "only6"),
    [
        ('[socket]\nBindIPv6Only = "ipv6-only"\n', False),
        ("[socket]\nReusePort = true\n", False),
        ('routing = "steered"\n', False),
        ("", False),
        (SHARED, True),
    ],
)
def test_both_families_can_be_open_with(more: str, only6: bool) -> None:
    assert parse("a", BOTH + more, "a.toml", only6=only6).listen


def test_both_families_cannot_be_open_where_the_app_file_overrules_the_machine() -> None:
    with pytest.raises(InvalidFile):
        parse("a", BOTH + SHARED + '[socket]\nBindIPv6Only = "both"\n', "a.toml", only6=True)
