"""Error replies of the daemon as exceptions."""

from __future__ import annotations

import pytest

from deployd.bus import BusError
from deployd.errors import (
    AccessDenied,
    Busy,
    DeploydError,
    ExitStatus,
    InvalidFile,
    NoSuchApp,
    Refused,
    Unreachable,
)
from deployd.replies import error_from

DBUS = "org.freedesktop.DBus.Error."


@pytest.mark.parametrize(
    ("name", "error", "exit_status"),
    [
        ("org.deployd1.Error.Busy", Busy, ExitStatus.REFUSED),
        ("org.deployd1.Error.InvalidFile", InvalidFile, ExitStatus.REFUSED),
        ("org.deployd1.Error.NoSuchApp", NoSuchApp, ExitStatus.NO_SUCH_APP),
        (DBUS + "AccessDenied", AccessDenied, ExitStatus.REFUSED),
        (DBUS + "UnknownObject", NoSuchApp, ExitStatus.NO_SUCH_APP),
        (DBUS + "ServiceUnknown", Unreachable, ExitStatus.UNREACHABLE),
        (DBUS + "NoReply", Unreachable, ExitStatus.UNREACHABLE),
        (DBUS + "Spawn.ChildExited", Unreachable, ExitStatus.UNREACHABLE),
        ("org.freedesktop.systemd1.NoSuchUnit", Unreachable, ExitStatus.UNREACHABLE),
        ("org.example.Novel", DeploydError, ExitStatus.FAILED),
    ],
)
def test_every_error_reply_has_its_meaning(name: str, error: type[DeploydError], exit_status: ExitStatus) -> None:
    meant = error_from(BusError(name, "why"), "demo")
    assert type(meant) is error
    assert meant.exit_status is exit_status
    assert "why" in str(meant) or "demo" in str(meant)


def test_output_of_a_process_is_below_the_sentence() -> None:
    meant = error_from(BusError("org.deployd1.Error.Refused", "before hook ./x failed\nno such table\n  users"), "demo")
    assert (type(meant), str(meant)) == (Refused, "before hook ./x failed")
    assert meant.__notes__ == ["    no such table", "      users"]


def test_a_rejected_call_is_busy() -> None:
    meant = error_from(BusError(DBUS + "LimitsExceeded", "too many questions"), "demo")
    assert (type(meant), str(meant), meant.exit_status) == (Busy, "too many questions", ExitStatus.REFUSED)
