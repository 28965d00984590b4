"""UNIX addresses that lead to one instance's socket after another's, for real sockets and connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.reuseport.table import TICKETS, Table, choose
from deployd.routing import unix_paths
from deployd.routing.unix_paths import Paths, PathTakenError, moves, next_slot
from deployd.sockdiag import unix_diag

SWITCHES = 2000


class Ground:
    """Listeners of instances, and the addresses that lead to them."""

    def __init__(self, root: Path, held: ExitStack) -> None:
        self.root = root
        self.directory = root / "shop"
        self.directory.mkdir()
        self.address = str(root / "clients" / "http.sock")
        self.sockets: dict[int, socket.socket] = {}
        self._held = held

    def own(self, number: int, address: str) -> str:
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

    def paths(self) -> Paths:
        return Paths(self.directory, self.own, self.link)

    def named(self) -> int:
        """Whom the address names."""
        return int(Path(self.link(self.address)).readlink().name.partition("-")[0])

    def connect(self) -> socket.socket:
        client = self._held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        client.connect(self.address)
        return client


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as held:
        yield Ground(tmp_path, held)


shares = st.dictionaries(st.integers(1, 9), st.floats(0, 100), max_size=5)


@given(shares, st.sets(st.integers(1, 9)), st.integers(0, TICKETS))
def test_a_slice_goes_by_the_table(given_shares: dict[int, float], listening: set[int], cursor: int) -> None:
    table = Table.of(given_shares, list(given_shares))
    slot = next_slot(table, cursor, listening)
    assert slot in listening if listening else slot is None
    if (chosen := choose(table, cursor, listening)) is not None:
        assert slot == chosen


@given(shares, st.sets(st.integers(1, 9)))
def test_it_moves_if_there_is_a_choice(given_shares: dict[int, float], listening: set[int]) -> None:
    table = Table.of(given_shares, list(given_shares))
    named = {next_slot(table, cursor, listening) for cursor in range(TICKETS)}
    assert moves(table, listening) == (len(named) > 1)


def test_shares_hold_over_time(ground: Ground) -> None:
    ground.open(1, 2)
    found = ground.paths()
    found.set(Table.of({1: 25, 2: 75}, [2, 1]))
    found.find([ground.address], [1, 2])
    assert found.moving
    seen: Counter[int] = Counter()
    for _ in range(400):
        found.turn()
        seen[ground.named()] += 1
    assert abs(seen[1] - 100) <= 2


def test_with_one_instance_it_stands_still(ground: Ground) -> None:
    ground.open(1)
    found = ground.paths()
    found.set(Table.of({1: 100}, [1]))
    found.find([ground.address], [1])
    assert not found.moving
    before = Path(ground.link(ground.address)).lstat().st_ino
    for _ in range(5):
        found.turn()
        found.set(Table.of({1: 50}, [1]))
    assert Path(ground.link(ground.address)).lstat().st_ino == before


def test_the_first_listener_is_named_before_there_is_a_table(ground: Ground) -> None:
    ground.open(3)
    found = ground.paths()
    found.find([ground.address], [3])
    assert ground.named() == 3
    ground.connect()
    assert found.queues() == {3: 1}


def test_who_loses_its_share_is_left_at_once(ground: Ground) -> None:
    ground.open(1, 2)
    found = ground.paths()
    found.set(Table.of({1: 1}, [1]))
    found.find([ground.address], [1, 2])
    for number in (2, 1, 2):
        found.set(Table.of({number: 1}, [number]))
        assert ground.named() == number


def test_queues_and_connections_are_counted(ground: Ground) -> None:
    ground.open(1, 2)
    found = ground.paths()
    found.set(Table.of({1: 1}, [1]))
    found.find([ground.address], [1, 2])
    ground.connect()
    ground.connect()
    assert found.queues() == {1: 2, 2: 0}
    with ground.sockets[1].accept()[0]:
        assert found.queues() == {1: 1, 2: 0}
        assert found.connections([1, 2]) == {1: 2, 2: 0}
        assert found.connections([2]) == {2: 0}
    assert found.connections([1]) == {1: 1}


@pytest.mark.parametrize("kind", ["file", "socket", "symlink", "directory"])
def test_what_is_not_ours_is_left_alone(ground: Ground, kind: str) -> None:
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
        found = ground.paths()
        with pytest.raises(PathTakenError, match="is there already"):
            found.find([ground.address], [1])
        assert not found.listening
        found.turn()
        unix_paths.forget(ground.directory, ground.link)
        assert address.lstat() == before


def test_what_comes_to_stand_at_our_address_is_left_alone(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.open(1, 2)
    found = ground.paths()
    found.set(Table.of({1: 1, 2: 1}, [1, 2]))
    found.find([ground.address], [1, 2])
    Path(ground.address).unlink()
    Path(ground.address).write_text("mine")
    for _ in range(10):
        found.turn()
    assert Path(ground.address).read_text() == "mine"
    assert not caplog.records
    with pytest.raises(PathTakenError):
        found.find([ground.address], [1, 2])


def test_who_comes_after_finds_addresses_of_before(ground: Ground) -> None:
    ground.open(1)
    ground.paths().find([ground.address], [1])
    other = str(ground.root / "other.sock")
    ground.open(2, address=other)
    found = ground.paths()
    found.find([other], [1, 2])
    assert found.listening == {ground.address: {1}, other: {2}}
    assert Path(ground.link(other)).readlink() == Path(ground.own(2, other))
    ground.sockets[1].close()
    found.find([other], [2])
    assert found.listening == {other: {2}}
    assert not Path(ground.link(ground.address)).is_symlink()
    assert Path(ground.link(other)).is_symlink()


def test_an_address_without_listeners_stays_while_it_is_wanted(ground: Ground) -> None:
    ground.open(1)
    found = ground.paths()
    found.find([ground.address], [1])
    found.find([ground.address], [])
    assert Path(ground.link(ground.address)).is_symlink()
    found.find([], [])
    assert not Path(ground.link(ground.address)).is_symlink()


def test_a_removed_app_leaves_nothing(ground: Ground) -> None:
    ground.open(1)
    ground.paths().find([ground.address], [1])
    Path(ground.own(1, ground.address)).unlink()
    unix_paths.forget(ground.directory, ground.link)
    assert not ground.directory.exists()
    unix_paths.forget(ground.directory, ground.link)


def test_a_link_that_cannot_be_moved_is_told(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.open(1)
    found = ground.paths()
    Path(f"{ground.directory}/.http.sock.new/in the way").mkdir(parents=True)
    found.set(Table.of({1: 1}, [1]))
    found.find([ground.address], [1])
    assert "replace the symlink" in caplog.text


def test_clients_see_nothing_of_moves(ground: Ground) -> None:
    """Clients in processors' full speed, the path moves SWITCHES times: every connection is answered by somebody."""
    ground.open(1, 2)
    found = ground.paths()
    found.find([ground.address], [1, 2])
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
        found.set(Table.of({switch % 2 + 1: 1}, [1, 2]))
    ended.set()
    client.join()
    for number in (1, 2):
        ground.sockets[number].shutdown(socket.SHUT_RDWR)
    assert not errors
    assert sum(answered.values()) == asked[0]
    assert min(answered[1], answered[2]) > 0


def test_the_kernel_tells_of_paths_only(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as real,
    ):
        abstract.bind(f"\0{tmp_path}")
        abstract.listen()
        real.bind(str(tmp_path / "a"))
        real.listen()
        found = unix_diag.queues()
        assert found[str(tmp_path / "a")] == 0
        assert str(tmp_path) not in found
        assert "" not in found
