"""A program that unlinks its UNIX socket when it ends, as php-fpm does, does not take the address from the others."""

from __future__ import annotations

from tests.host.stage import APP, Stage

ADDRESS = "/run/demo.sock"
UNLINKING = f"""
import atexit, contextlib, os, runpy, socket

def unlink():
    for path in ("{ADDRESS}", socket.socket(fileno=os.dup(3)).getsockname()):
        with contextlib.suppress(OSError):
            os.unlink(path)

atexit.register(unlink)
runpy.run_path("app.py", run_name="__main__")
"""


def test_the_address_stays(stage: Stage) -> None:
    """Root runs the program, also while no daemon does."""
    files = {"unlinking.py": UNLINKING}
    stage.configure(
        release=stage.release("v1", files=files),
        listen=[ADDRESS],
        exec=["/usr/bin/python3", "unlinking.py"],
        instances=3,
    )
    assert stage.change("apply").status == 0
    with stage.load(100, 4, "--unix", ADDRESS) as load:
        assert stage.rollout(stage.release("v2", files=files)).result == "succeeded"
        stage.machine.run(["systemctl", "stop", "deployd.service"])
        stage.machine.run(["systemctl", "restart", f"{APP}@*.service"])
        stage.machine.run(["systemctl", "start", "deployd.service"])
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert record.requests
