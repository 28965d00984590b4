"""Traps of systemd: sockets and the descriptors that are passed. docs/traps.md says what follows from each."""

from __future__ import annotations

import os

from tests.systemd.bare import UNITS, Bare

SOCKET = "[Socket]\nListenStream=127.0.0.1:{port}\nService={service}.service\n"
SLEEP = "[Service]\nType=exec\nNonBlocking={non_blocking}\nSockets={sockets}\nExecStart=sleep 10000\n"
NAMES = "[Service]\nType=oneshot\nSockets={sockets}\nExecStart=sh -c 'echo names=$LISTEN_FDNAMES'\n"


def names(bare: Bare, unit: str) -> str:
    """Start a service with NAMES, and return what it got as LISTEN_FDNAMES."""
    bare.run("systemctl", "start", unit)
    *_, last = (line for line in bare.journal(unit).splitlines() if line.startswith("names="))
    return last.removeprefix("names=")


def is_active(bare: Bare, unit: str) -> bool:
    return bare.show(unit, "ActiveState") == "active"


def test_a_start_sets_or_clears_o_nonblock_for_every_process_with_the_socket(bare: Bare) -> None:
    bare.units(
        shared_socket=SOCKET.format(port=9000, service="first"),
        first_service=SLEEP.format(non_blocking="yes", sockets="shared.socket"),
        second_service=SLEEP.format(non_blocking="no", sockets="shared.socket"),
    )
    bare.run("systemctl", "start", "shared.socket", "first.service")
    info = f"/proc/{bare.show('first.service', 'MainPID')}/fdinfo/3"

    def non_blocking() -> bool:
        [flags] = (line.split()[1] for line in bare.machine.read(info).splitlines() if line.startswith("flags:"))
        return bool(int(flags, 8) & os.O_NONBLOCK)

    assert non_blocking()
    bare.run("systemctl", "start", "second.service")
    assert not non_blocking()


def test_a_socket_that_was_edited_cannot_be_opened_again_while_its_service_runs(bare: Bare) -> None:
    bare.units(
        edited_socket=SOCKET.format(port=9010, service="edited"),
        edited_service=SLEEP.format(non_blocking="yes", sockets="edited.socket"),
    )
    bare.run("systemctl", "start", "edited.socket", "edited.service")
    bare.units(edited_socket=SOCKET.format(port=9011, service="edited"))
    bare.fails("systemctl", "restart", "edited.socket")
    assert (is_active(bare, "edited.socket"), is_active(bare, "edited.service")) == (False, True)
    assert "already active, refusing" in bare.journal("edited.socket")


def test_a_socket_cannot_be_opened_while_its_service_runs_although_that_does_not_take_it(bare: Bare) -> None:
    bare.units(
        late_socket=SOCKET.format(port=9020, service="idle"),
        idle_service=SLEEP.format(non_blocking="yes", sockets=""),
    )
    bare.run("systemctl", "start", "idle.service")
    bare.fails("systemctl", "start", "late.socket")
    assert "already active, refusing" in bare.journal("late.socket")


def test_a_stopped_service_is_started_by_the_next_connection(bare: Bare) -> None:
    bare.units(
        left_socket=SOCKET.format(port=9030, service="left"),
        left_service=SLEEP.format(non_blocking="yes", sockets="left.socket"),
    )
    bare.run("systemctl", "start", "left.socket", "left.service")
    bare.run("systemctl", "stop", "left.service")
    assert is_active(bare, "left.socket")
    with bare.machine.connect(("127.0.0.1", 9030)):
        bare.machine.wait_unit("left.service")


def test_a_start_limit_closes_the_socket(bare: Bare) -> None:
    bare.units(
        limited_socket=SOCKET.format(port=9040, service="limited"),
        limited_service="[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n[Service]\nExecStart=false\n",
    )
    bare.run("systemctl", "start", "limited.socket")
    with bare.machine.connect(("127.0.0.1", 9040)):
        bare.wait("limited.socket", "Result", "service-start-limit-hit")
    assert bare.show("limited.socket", "ActiveState") == "failed"


def test_binds_to_closes_a_socket_in_the_wait_for_a_restart_and_part_of_does_not(bare: Bare) -> None:
    bare.units(
        bound_socket="[Unit]\nBindsTo=crashing.service\n" + SOCKET.format(port=9050, service="unused"),
        part_socket="[Unit]\nPartOf=crashing.service\n" + SOCKET.format(port=9051, service="unused"),
        unused_service=SLEEP.format(non_blocking="yes", sockets=""),
        crashing_service="[Unit]\nWants=bound.socket part.socket\n"
        "[Service]\nRestart=always\nRestartSec=1h\nExecStart=sleep 10000\n",
    )
    bare.run("systemctl", "start", "crashing.service", "bound.socket", "part.socket")
    bare.kill("crashing.service")
    bare.wait("crashing.service", "SubState", "auto-restart")
    bare.machine.wait_unit("bound.socket", "inactive")
    assert is_active(bare, "part.socket")
    bare.run("systemctl", "stop", "crashing.service")
    bare.machine.wait_unit("part.socket", "inactive")


def test_the_order_of_descriptors_is_not_that_of_the_unit_file(bare: Bare) -> None:
    """It is another each time that systemd has read the units."""
    sockets = [f"in-order-{letter}.socket" for letter in "abcdef"]
    for number, name in enumerate(sockets):
        bare.machine.write(f"{UNITS}/{name}", SOCKET.format(port=9060 + number, service="ordered"))
    bare.units(ordered_service=NAMES.format(sockets=" ".join(sockets)))
    bare.run("systemctl", "start", *sockets)
    orders = set()
    for _ in range(4):
        orders.add(names(bare, "ordered.service"))
        bare.run("systemctl", "daemon-reload")
    assert {frozenset(order.split(":")) for order in orders} == {frozenset(sockets)}
    assert len(orders) > 1


def test_a_colon_in_a_unit_s_name_makes_two_names_of_one_descriptor(bare: Bare) -> None:
    bare.machine.write(f"{UNITS}/a:b.socket", SOCKET.format(port=9070, service="colon"))
    bare.units(colon_service=NAMES.format(sockets="a:b.socket"))
    bare.run("systemctl", "start", "a:b.socket")
    assert names(bare, "colon.service") == "a:b.socket"


def test_the_store_drops_a_descriptor_that_polls_as_broken(bare: Bare) -> None:
    """As that of a BPF map does. FDPOLL=0 keeps it."""
    bare.machine.write("/opt/store.py", STORE)
    for name, more in (("polled", ""), ("kept", "FDPOLL=0")):
        text = f"[Service]\nType=notify\nFileDescriptorStoreMax=4\nExecStart=/usr/bin/python3 /opt/store.py {more}\n"
        bare.machine.write(f"{UNITS}/{name}.service", text)
    bare.run("systemctl", "daemon-reload")
    bare.run("systemctl", "start", "polled.service", "kept.service")
    bare.wait("polled.service", "NFileDescriptorStore", "0")
    assert bare.show("kept.service", "NFileDescriptorStore") == "1"


STORE = """
import os, signal, socket, sys
reading, writing = os.pipe()
os.close(reading)  # so that the other end polls as broken
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    socket.send_fds(notify, ["\\n".join(["FDSTORE=1", *sys.argv[1:]]).encode()], [writing])
    notify.send(b"READY=1")
signal.pause()
"""
