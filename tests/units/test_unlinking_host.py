"""A program that unlinks its UNIX socket when it ends, as php-fpm does, does not take the address from the others."""

from __future__ import annotations

import contextlib

import pytest

from tests.host.stage import APP, PORT, Stage

ADDRESS = "/run/demo.sock"
NOTES = "/run/unlinked"
"""What the program has tried to unlink, and the result."""
UNLINKING = f"""
import atexit, errno, os, runpy, socket

PATHS = "{ADDRESS}", socket.socket(fileno=os.dup(3)).getsockname()

def unlink():
    for path in PATHS:
        try:
            os.unlink(path)
        except OSError as error:
            print(path, errno.errorcode[error.errno], file=open("{NOTES}", "a"))
        else:
            print(path, "unlinked", file=open("{NOTES}", "a"))

atexit.register(unlink)
runpy.run_path("app.py", run_name="__main__")
"""


def configure(stage: Stage, **more: object) -> None:
    stage.machine.run(["rm", "-f", NOTES])
    files = {"unlinking.py": UNLINKING}
    program = ["/usr/bin/python3", "unlinking.py"]
    stage.configure(release=stage.release("v1", files=files), listen=[ADDRESS], exec=program, **more)
    assert stage.change("apply").status == 0


def notes(stage: Stage) -> list[str]:
    return (stage.machine.path("/run") / "unlinked").read_text().splitlines()


def test_the_address_stays(stage: Stage) -> None:
    """Root runs the program, also while no daemon does."""
    configure(stage, instances=3)
    files = {"unlinking.py": UNLINKING}
    with stage.load(100, 4, "--unix", ADDRESS) as load:
        assert stage.rollout(stage.release("v2", files=files)).result == "succeeded"
        stage.machine.run(["systemctl", "stop", "deployd.service"])
        stage.machine.run(["systemctl", "restart", f"{APP}@*.service"])
        stage.machine.run(["systemctl", "start", "deployd.service"])
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert record.requests
    assert set(notes(stage)) == {f"{ADDRESS} EBUSY"}


def serves(stage: Stage) -> bool:
    with contextlib.suppress(OSError), stage.machine.connect(ADDRESS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        return bool(connection.recv(100).startswith(b"HTTP/1.1 200"))
    return False


@pytest.mark.thorough
def test_an_address_that_someone_removes_is_opened_again(stage: Stage) -> None:
    """The shared socket has to be closed for that, and the instances get the new one."""
    stage.configure(release=stage.release("v1"), instances=2, listen=[f"127.0.0.1:{PORT}", ADDRESS])
    assert stage.change("apply").status == 0
    before = stage.invocations()
    stage.machine.run(["rm", ADDRESS])
    stage.machine.wait_for(lambda: serves(stage), what="the address to be opened again")
    stage.machine.wait_for(lambda: stage.status()["health"] == "ok", what="the instances to have the new socket")
    assert not before.items() & stage.invocations().items()
    assert stage.get()["version"] == "v1"
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    stage.machine.run(["rm", ADDRESS])
    stage.machine.wait_for(lambda: serves(stage), what="a connection to start the app")


@pytest.mark.thorough
def test_the_symlink_of_a_steered_app_is_put_back(stage: Stage) -> None:
    configure(stage, instances=1, routing="steered")
    address = stage.machine.path("/run") / "demo.sock"
    stage.machine.run(["rm", ADDRESS])
    stage.machine.wait_for(lambda: serves(stage), what="the removed address to be put back")
    for _ in range(2):
        stage.machine.run(["systemctl", "restart", f"{APP}@1.service"])
        assert notes(stage)[0] == f"{ADDRESS} unlinked"
        assert notes(stage)[1].endswith(" EBUSY"), "the socket of the generation"
        stage.machine.wait_for(address.is_symlink, what="the address to be put back")
        assert serves(stage)
    assert stage.deployd("remove", APP).returncode == 0
    assert not address.is_symlink()
