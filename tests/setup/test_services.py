"""Which commands make systemd use what was installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployd.errors import DeploydError
from deployd_cli.setup import services


def test_the_daemon_is_enabled_the_first_time_only() -> None:
    first = services.after_install(True, True)
    assert first[-1] == ("systemctl", "--quiet", "enable", "--now", "deployd.service")
    again = services.after_install(False, True)
    assert not [command for command in again if "enable" in command]
    assert again[-1][:3] == ("systemctl", "try-restart", "deployd.service")


def test_without_a_running_systemd_nothing_is_started() -> None:
    commands = (*services.after_install(True, False), *services.before_removal(["/usr/deployd.service"], False))
    assert not [command for command in commands if "--now" in command or "daemon-reload" in command]


def test_what_is_not_installed_is_not_disabled() -> None:
    assert services.before_removal(["/usr/bin/deployd"], True) == ()
    (command,) = services.before_removal(["/x/deployd.service", "/x/deployd-metrics.socket"], True)
    assert command[-2:] == ("deployd-metrics.socket", "deployd.service")


def test_the_version_of_systemd_is_that_of_the_root(tmp_path: Path) -> None:
    library = tmp_path / "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-254~rc1.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert services.version(tmp_path) == 254


def test_a_command_that_fails_is_named_with_what_it_said() -> None:
    with pytest.raises(DeploydError, match=r"^sh -c echo one >&2; echo two >&2; exit 3 failed: two$"):
        services.run([("sh", "-c", "echo one >&2; echo two >&2; exit 3")])
    with pytest.raises(DeploydError, match=r"^/no/such cannot be run: No such file or directory$"):
        services.run([("/no/such",)])
