"""Connections to a preview: to which instance, and from which users and sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.apps.caller import Caller
from deployd.apps.caller_files import CallerFiles
from deployd.apps.previews import Previews
from deployd.apps.registry import Registry
from deployd.documents import Json
from deployd.errors import AccessDenied, DeploydError, InvalidRequest, Refused
from deployd.model.instance import Instance, State
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.reuseport.probes import Aimed
from deployd.rollout.controller import Controller
from deployd.routing import Router
from tests.plan.worlds import ready

PREVIEW = Hold(1, canary=True, share=0.0, preview=True, address=True)
ROOT, USER = Caller(":1.1", 0), Caller(":1.2", 4711, frozenset({4711, 50}))


class Site:
    """A preview of `shop` with a listener as its instance 3; `fds` are those of the caller."""

    def __init__(self, directory: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.path = directory / "preview/shop.sock"
        self.path.parent.mkdir()
        self.path.touch()
        self.path.chmod(0o660)
        self.controller = create_autospec(Controller, instance=True)
        self.controller.observe.return_value = (ready(1, 1), ready(3, 2))
        self.controller.rollout = Rollout("shop", 1, 2, holds=(PREVIEW,), passed=frozenset({3}))
        self.controller.router = create_autospec(Router, instance=True)
        self.controller.router.aim.side_effect = self._aim
        registry = create_autospec(Registry, instance=True)
        registry.known.return_value = self.controller
        files = create_autospec(CallerFiles, instance=True)
        files.opened.side_effect = self._opened
        self.previews = Previews(files, registry, directory)
        self.aimed_at: list[int] = []

    @asynccontextmanager
    async def _opened(self, _: Caller, numbers: Sequence[int]) -> AsyncIterator[list[int]]:
        copies = [os.dup(number) for number in numbers]
        yield copies
        for copy in copies:
            os.close(copy)

    @contextmanager
    def _aim(self, number: int, _: float, make: Callable[[int], socket.socket]) -> Iterator[Aimed]:
        self.aimed_at.append(number)
        with make(socket.AF_INET) as made:
            made.bind(("127.0.0.1", 0))
            yield Aimed(made, self.listener.getsockname())

    def connect(self, caller: Caller, **sockets: int) -> Json:
        async def work() -> Json:
            return await self.previews.connect(caller, "shop", sockets)

        return asyncio.run(work())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.listener.close()


def test_the_callers_own_socket_is_connected(site: Site) -> None:
    with socket.socket() as ours:
        assert site.connect(ROOT, ipv4=ours.fileno()) == {"app": "shop", "instance": 3, "family": "ipv4"}
        theirs, _ = site.listener.accept()
        with theirs:
            ours.setblocking(True)
            ours.sendall(b"hello")
            assert theirs.recv(5) == b"hello"
    assert site.aimed_at == [3]


def test_those_who_may_connect_to_the_socket_may_call(site: Site) -> None:
    with socket.socket() as ours, pytest.raises(AccessDenied, match=r"may connect to .*shop\.sock"):
        site.connect(USER, ipv4=ours.fileno())
    assert not site.aimed_at
    os.chown(site.path, 0, 50)
    with socket.socket() as ours:
        assert site.connect(USER, ipv4=ours.fileno())["instance"] == 3


def sharing(option: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, option, 1)
    return made


@pytest.mark.parametrize(
    "made",
    [
        lambda: socket.socket(socket.AF_UNIX),
        lambda: socket.socket(type=socket.SOCK_DGRAM),
        lambda: socket.socket(socket.AF_INET6),
        lambda: socket.create_server(("127.0.0.1", 0)),
        lambda: sharing(socket.SO_REUSEADDR),
        lambda: sharing(socket.SO_REUSEPORT),
    ],
)
def test_only_a_new_socket_with_a_port_of_its_own_is_taken(site: Site, made: Callable[[], socket.socket]) -> None:
    with made() as other, pytest.raises(InvalidRequest, match="must be a new stream socket of the family ipv4"):
        site.connect(ROOT, ipv4=other.fileno())


def test_an_instance_that_shares_a_socket_is_reached_at_that_for_its_probes(site: Site) -> None:
    site.controller.router.aim.side_effect = None
    site.controller.router.aim.return_value = None
    site.controller.name = "shop"
    path = site.path.parents[1] / "probe/shop/3.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as ours:
        listener.bind(str(path))
        listener.listen()
        assert site.connect(ROOT, unix=ours.fileno())["family"] == "unix"
        with pytest.raises(InvalidRequest, match="a socket of the family unix"):
            site.connect(ROOT)
        with pytest.raises(InvalidRequest, match="must be a new stream socket of the family unix"):
            site.connect(ROOT, unix=listener.fileno())


def test_other_descriptors_are_refused(site: Site, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(InvalidRequest, match="is no socket"):
        site.connect(ROOT, ipv4=file.fileno())
    with socket.socket(socket.AF_INET6) as other, pytest.raises(InvalidRequest, match="a socket of the family ipv4"):
        site.connect(ROOT, ipv6=other.fileno())
    with pytest.raises(InvalidRequest, match="a socket of the family ipv4"):
        site.connect(ROOT)


@pytest.mark.parametrize(
    "changed",
    [
        {"holds": (Hold(1, canary=True),)},
        {"phase": Phase.ROLLING_BACK},
        {"passed": frozenset()},
        {"instances": (ready(1, 1), Instance(3, 2, State.FAILED))},
    ],
)
def test_without_an_instance_that_is_ready_there_is_no_preview(site: Site, changed: dict[str, Any]) -> None:
    fields = {"holds": (PREVIEW,), "passed": frozenset({3}), **changed}
    site.controller.observe.return_value = fields.pop("instances", site.controller.observe.return_value)
    site.controller.rollout = Rollout("shop", 1, 2, **fields)
    with pytest.raises(Refused, match="shop has no preview"):
        site.connect(ROOT)


def test_an_instance_that_accepts_nothing_is_named(site: Site) -> None:
    site.listener.close()
    site.listener = socket.socket()
    site.listener.bind(("127.0.0.1", 0))
    with socket.socket() as ours, pytest.raises(DeploydError, match="instance 3 of shop does not accept connections"):
        site.connect(ROOT, ipv4=ours.fileno())
