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
