"""UNIX addresses that lead to the socket of one generation, with real sockets and connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployd.model.address import set_aside
from deployd.routing import unix_links
from deployd.routing.passed_sockets import SHARED_UNIX
from deployd.routing.unix_links import Links, PathTakenError

SWITCHES = 2000


class Ground:
    """Listeners of generations, and the addresses that lead to them."""

    def __init__(self, root: Path, held: ExitStack) -> None:
        self.root = root
        self.directory = root / "shop"
        self.directory.mkdir()
        self.address = str(root / "clients" / "http.sock")
        self.sockets: dict[int, socket.socket] = {}
        self._held = held

    def own(self, number: int, address: str) -> str:
        if number == SHARED_UNIX:
            return set_aside(address)
        return str(self.directory / f"{number}-{Path(address).name}")

    def open(self, *numbers: int, address: str = "") -> None:
        for number in numbers:
            listener = self._held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(self.own(number, address or self.address))
            listener.listen(512)
            self.sockets[number] = listener
            named = Path(address or self.address)
            named.parent.mkdir(exist_ok=True)
            if not named.is_symlink() and not named.exists():  # as the socket units do
                named.symlink_to(self.link(str(named)))

    def link(self, address: str) -> str:
        return str(self.directory / Path(address).name)

    def links(self) -> Links:
        return Links(self.directory, self.own, self.link)

    def named(self) -> int:
        """Return the socket to which the address leads."""
        return int(Path(self.link(self.address)).readlink().name.partition("-")[0])

    def connect(self) -> socket.socket:
        client = self._held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        client.connect(self.address)
        return client


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as held:
        yield Ground(tmp_path, held)


def test_a_link_that_leads_right_is_not_replaced(ground: Ground) -> None:
    ground.open(1, 2)
    found = ground.links()
    found.lead((1, 2))
    found.update([ground.address], [1])
    before = Path(ground.link(ground.address)).lstat().st_ino
    found.lead((1,))
    found.update([ground.address], [1, 2])
    assert Path(ground.link(ground.address)).lstat().st_ino == before


def test_a_new_address_leads_to_a_socket_at_once(ground: Ground) -> None:
    ground.open(3)
    found = ground.links()
    found.update([ground.address], [3])
    assert ground.named() == 3
    ground.connect()
    ground.sockets[3].accept()[0].close()


def test_an_address_leads_to_the_first_that_listens(ground: Ground) -> None:
    ground.open(1, 2)
    found = ground.links()
    found.update([ground.address], [1, 2])
    for number in (2, 1, 2):
        found.lead((3, number, 1, 2))
        assert ground.named() == number == found.target(ground.address)


@pytest.mark.parametrize("second_name", [True, False], ids=["opened-at-its-address", "opened-next-to-it"])
def test_a_shared_socket_is_one_of_those_to_which_an_address_leads(ground: Ground, second_name: bool) -> None:
    """It has the name under which it was opened, and is reached next to the address."""
    ground.open(1)
    found = ground.links()
    found.update([ground.address], [1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as shared:
        if second_name:
            Path(ground.address).unlink()
            shared.bind(ground.address)
            Path(set_aside(ground.address)).hardlink_to(ground.address)
        else:
            shared.bind(set_aside(ground.address))
        shared.listen()
        found.update([ground.address], [1, SHARED_UNIX])
        assert Path(ground.address).is_socket()
        assert Path(ground.address).is_symlink() is not second_name, "it is left alone until it was moved aside"
        Path(ground.address).unlink()
        Path(ground.address).symlink_to(ground.link(ground.address))
        found.update([ground.address], [1, SHARED_UNIX])
        assert found.listening == {ground.address: {1, SHARED_UNIX}}
        for number, listener in ((SHARED_UNIX, shared), (1, ground.sockets[1])):
            found.lead((number,))
            assert found.target(ground.address) == number
            ground.connect()
            listener.accept()[0].close()
        assert set(found.paths(SHARED_UNIX)) == {ground.address, set_aside(ground.address)}


def test_another_process_finds_the_address_where_it_leads(ground: Ground) -> None:
    """A daemon that starts moves nothing before it knows the instances."""
    ground.open(1, 2)
    found = ground.links()
    found.update([ground.address], [1, 2])
    found.lead((2, 1))
    later = ground.links()
    later.update([ground.address], [1, 2])
    assert ground.named() == 2 == later.target(ground.address)


@pytest.mark.parametrize("kind", ["file", "socket", "symlink", "directory"])
def test_a_file_that_is_not_ours_is_left_alone(ground: Ground, kind: str) -> None:
    address = Path(ground.address)
    address.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        match kind:
            case "file":
                address.write_text("mine")
            case "socket":
                other.bind(ground.address)
            case "symlink":
                address.symlink_to("/run/other.sock")
            case "directory":
                address.mkdir()
        before = address.lstat()
        ground.open(1)
        found = ground.links()
        with pytest.raises(PathTakenError, match="is there already"):
            found.update([ground.address], [1])
        assert not found.listening
        found.lead((1,))
        unix_links.forget(ground.directory)
        assert address.lstat() == before


def test_a_file_put_at_our_address_is_left_alone(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.open(1, 2)
    found = ground.links()
    found.lead((1, 2))
    found.update([ground.address], [1, 2])
    Path(ground.address).unlink()
    Path(ground.address).write_text("mine")
    for number in (2, 1):
        found.lead((number,))
    assert Path(ground.address).read_text() == "mine"
    assert not caplog.records
    with pytest.raises(PathTakenError):
        found.update([ground.address], [1, 2])


def test_the_next_daemon_finds_older_addresses(ground: Ground) -> None:
    ground.open(1)
    ground.links().update([ground.address], [1])
    other = str(ground.root / "other.sock")
    ground.open(2, address=other)
    found = ground.links()
    found.update([other], [1, 2])
    assert found.listening == {ground.address: {1}, other: {2}}
    assert Path(ground.link(other)).readlink() == Path(ground.own(2, other))
    ground.sockets[1].close()
    found.update([other], [2])
    assert found.listening == {other: {2}}
    assert not Path(ground.link(ground.address)).is_symlink()
    assert Path(ground.link(other)).is_symlink()


def test_an_address_without_listeners_stays_while_it_is_wanted(ground: Ground) -> None:
    ground.open(1)
    found = ground.links()
    found.update([ground.address], [1])
    found.update([ground.address], [])
    assert Path(ground.link(ground.address)).is_symlink()
    found.update([], [])
    assert not Path(ground.link(ground.address)).is_symlink()


def test_a_removed_app_leaves_nothing(ground: Ground) -> None:
    ground.open(1)
    ground.links().update([ground.address], [1])
    Path(ground.own(1, ground.address)).unlink()
    unix_links.forget(ground.directory)
    assert not ground.directory.exists()
    unix_links.forget(ground.directory)


def test_a_link_that_no_daemon_has_noted_is_forgotten_too(ground: Ground) -> None:
    """The socket unit made it, and the daemon was killed before it wrote down the address."""
    ground.open(1)
    Path(ground.link(ground.address)).symlink_to(ground.own(1, ground.address))
    Path(ground.own(1, ground.address)).unlink()
    unix_links.forget(ground.directory)
    assert not ground.directory.exists()


def test_a_link_that_cannot_be_moved_is_logged(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.open(1)
    found = ground.links()
    Path(f"{ground.directory}/.http.sock.new/in the way").mkdir(parents=True)
    found.lead((1,))
    found.update([ground.address], [1])
    assert "replace the symlink" in caplog.text


def test_no_connection_is_lost_when_the_link_moves(ground: Ground) -> None:
    """The link moves SWITCHES times while a client connects as fast as it can: every connection is answered."""
    ground.open(1, 2)
    found = ground.links()
    found.update([ground.address], [1, 2])
    answered: Counter[int] = Counter()
    asked = [0]
    errors: list[OSError] = []
    ended = threading.Event()

    def serve(number: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                with ground.sockets[number].accept()[0] as connection:
                    connection.sendall(str(number).encode())

    def ask() -> None:
        while not ended.is_set():
            asked[0] += 1
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                    client.settimeout(10)
                    client.connect(ground.address)
                    answered[int(client.recv(1))] += 1
            except OSError as error:
                errors.append(error)

    servers = [threading.Thread(target=serve, args=(number,), daemon=True) for number in (1, 2)]
    client = threading.Thread(target=ask)
    for one in (*servers, client):
        one.start()
    for switch in range(SWITCHES):
        found.lead((switch % 2 + 1,))
    ended.set()
    client.join()
    for number in (1, 2):
        ground.sockets[number].shutdown(socket.SHUT_RDWR)
    assert not errors
    assert sum(answered.values()) == asked[0]
    assert min(answered[1], answered[2]) > 0
