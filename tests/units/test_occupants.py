"""The processes that listen at an address."""

from __future__ import annotations

import os
import socket

from deployd.units.occupants import is_local, occupants, refusal


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
