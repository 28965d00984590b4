"""The processes that listen at an address."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deployd.units.occupants import away, is_local, occupants, refusal
from tests.config.app_text import parse


def test_the_process_at_an_address_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        [found] = occupants([f"127.0.0.1:{port}"])
        assert (found.pid, found.inode) == (os.getpid(), os.fstat(listener.fileno()).st_ino)
        assert f"127.0.0.1:{port} is used by " in refusal("a.socket", [], "failed", [found])
        assert f"(PID {os.getpid()})" in str(found)
        for overlapping in (f"0.0.0.0:{port}", str(port)):
            assert found.pid in [item.pid for item in occupants([overlapping])]
        assert not occupants([f"127.0.0.2:{port}", "/run/a.sock"])


def test_a_child_of_systemd_does_not_occupy_what_systemd_has_open(tmp_path: Path) -> None:
    """Between fork and exec it has all of systemd's descriptors, also when it opens the socket of another unit."""
    with socket.socket() as listener, socket.socket() as other:
        for item in (listener, other):
            item.bind(("127.0.0.1", 0))
            item.listen()
        for pid, has in ((1, [listener]), (841, [listener, other])):
            (tmp_path / f"{pid}/fd").mkdir(parents=True)
            (tmp_path / f"{pid}/comm").write_text("(sd-listen)\n")
            (tmp_path / f"{pid}/cgroup").write_text("0::/init.scope\n")
            for number, item in enumerate(has):
                inode = os.fstat(item.fileno()).st_ino
                (tmp_path / f"{pid}/fd/{number}").symlink_to(f"socket:[{inode}]")
        addresses = [f"127.0.0.1:{item.getsockname()[1]}" for item in (listener, other)]
        assert [item.pid for item in occupants(addresses, tmp_path)] == [1, 841]


def test_an_address_may_be_on_no_interface() -> None:
    assert is_local("127.0.0.1:80")
    assert is_local("80")
    assert is_local("0.0.0.0:80")
    assert is_local("[::1]:80") or not os.path.exists("/proc/net/if_inet6")  # noqa: PTH110
    assert is_local("/run/a.sock")
    assert not is_local("192.0.2.1:80")  # TEST-NET-1
    assert "no interface of this machine has 192.0.2.1:80" in refusal("a.socket", ["192.0.2.1:80"], "failed", [])


def test_an_address_on_no_interface_is_warned_of() -> None:
    addresses = ["81", "0.0.0.0:82", "[::]:83", "127.0.0.1:84", "/run/a.sock"]
    missing = ["192.0.2.1:80", "[2001:db8::1]:80", "[fe80::dead:beef]:80"]
    scope = '[socket]\nBindToDevice = "lo"\nBindIPv6Only = "ipv6-only"'
    app = parse(scope, listen=str(addresses + missing))
    assert list(away(app, Path("/etc/web.toml"))) == [
        f'/etc/web.toml: listen: "{address}" is on no interface of this machine now; the socket will be open, but'
        " clients reach it only once the address is there"
        for address in missing
    ]
    (unscoped,) = away(parse(listen='["[fe80::1]:80"]'), Path("/etc/web.toml"))
    assert 'listen: "[fe80::1]:80" is link-local: no socket opens there without BindToDevice in [socket]' in unscoped
    strict = parse("[socket]\nFreeBind = false", listen='["192.0.2.1:80"]')
    assert [text.partition("; ")[2] for text in away(strict, Path("/etc/web.toml"))] == [
        "with FreeBind = false the socket opens only once the address is there"
    ]


def test_a_link_local_address_is_looked_for_on_each_interface() -> None:
    lines = Path("/proc/net/if_inet6").read_text().splitlines() if os.path.exists("/proc/net/if_inet6") else []  # noqa: PTH110
    found = [line.split()[0] for line in lines if line.startswith("fe80")]
    if not found:
        pytest.skip("no interface has a link-local address")
    assert is_local(f"[{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(found[0]))}]:80")
