"""Traps of systemd: how units are loaded, what the sandbox does. docs/traps.md says what follows from each."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.systemd.bare import TIMEOUT, UNITS, Bare

SLEEP = "[Service]\nExecStart=sleep 10000\n"
CALL = ("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1")
TRANSIENT = (*CALL, "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))")


def test_a_unit_file_that_is_new_is_loaded_without_a_reload_and_forgotten(bare: Bare) -> None:
    bare.machine.write(f"{UNITS}/new@.service", SLEEP)
    bare.machine.write(f"{UNITS}/new@.service.d/more.conf", "[Service]\nEnvironment=FROM=drop-in\n")
    bare.run("systemctl", "start", "new@1.service")
    assert bare.show("new@1.service", "Environment") == "FROM=drop-in"
    bare.run("systemctl", "stop", "new@1.service")
    assert "new@1" not in bare.run("systemctl", "list-units", "--all")


def test_settings_of_all_services_win_in_a_transient_unit(bare: Bare) -> None:
    bare.machine.write(f"{UNITS}/service.d/all.conf", "[Service]\nLimitNOFILE=4242\n")
    try:
        assert bare.transient("LimitNOFILE=1000", command="ulimit -n").stdout == "4242\n"
    finally:
        bare.run("rm", "-r", f"{UNITS}/service.d")


def test_a_transient_unit_takes_each_variable_once(bare: Bare) -> None:
    program = ["ExecStart", "a(sasb)", "1", "/bin/true", "1", "true", "false"]
    twice = ["Environment", "as", "2", "A=1", "A=2"]
    said = bare.fails(*TRANSIENT, "twice.service", "fail", "2", *twice, *program, "0")
    assert "Invalid environment block" in said


def test_what_is_written_for_a_transient_unit_cannot_be_read_again(bare: Bare) -> None:
    """252 writes ExecStartEx= and does not know it after a daemon-reload."""
    program = ["ExecStartEx", "a(sasas)", "1", "/bin/sleep", "2", "sleep", "10000", "1", "no-env-expand"]
    bare.run(*TRANSIENT, "extended.service", "fail", "1", *program, "0")
    bare.run("systemctl", "daemon-reload")
    state = bare.show("extended.service", "LoadState")
    bare.run("systemctl", "stop", "extended.service")
    assert state == "bad-setting" if bare.version == 252 else state in ("loaded", "bad-setting")


def test_enabling_counts_from_the_next_reload(bare: Bare) -> None:
    bare.units(wanted_service=SLEEP + "[Install]\nWantedBy=multi-user.target\n")
    bare.run("systemctl", "start", "wanted.service")
    bare.run("systemctl", "enable", "--no-reload", "--quiet", "wanted.service")
    for expected in ("inactive", "active"):
        bare.run("systemctl", "isolate", "multi-user.target")
        bare.machine.wait_unit("wanted.service", expected)
        bare.run("systemctl", "daemon-reload")
        bare.run("systemctl", "start", "wanted.service")


def test_run_stays_writable_where_proc_and_sys_are_mounted(bare: Bare) -> None:
    def writable(*properties: str) -> bool:
        return bare.transient("ProtectSystem=strict", *properties, command="touch /run/written").returncode == 0

    assert not writable()
    assert writable("ProtectKernelTunables=yes")
    assert not writable("ProtectKernelTunables=yes", "ReadOnlyPaths=/run")


@pytest.mark.parametrize("filtering", ["RestrictRealtime=yes", "LockPersonality=yes", "SystemCallFilter=~@mount"])
def test_filters_of_system_calls_imply_no_new_privileges(bare: Bare, filtering: str) -> None:
    """Of a user other than root, whatever the unit says: 252. 257 does what the unit says."""
    asked = bare.transient(filtering, "NoNewPrivileges=no", user="nobody", command="grep NoNewPrivs /proc/self/status")
    assert asked.stdout.split() == ["NoNewPrivs:", "1" if bare.version < 257 else "0"]


def test_an_allow_list_after_a_deny_list_allows_nearly_all(bare: Bare) -> None:
    """swapoff is in neither list. It is refused by the list that stands alone: the process dies of SIGSYS."""
    swapoff = "[Service]\nType=oneshot\n{}ExecStart=/usr/sbin/swapoff /nonexistent\n"
    bare.units(alone_service=swapoff.format(""), both_service=swapoff.format("SystemCallFilter=~@mount\n"))
    for name in ("alone", "both"):
        bare.machine.write(f"{UNITS}/{name}.service.d/list.conf", "[Service]\nSystemCallFilter=@system-service\n")
    bare.run("systemctl", "daemon-reload")
    for name in ("alone", "both"):
        bare.fails("systemctl", "start", f"{name}.service")
    assert (bare.show("alone.service", "Result"), bare.show("both.service", "Result")) == ("signal", "exit-code")


def test_a_watchdog_runs_on_while_the_process_is_stopped(bare: Bare) -> None:
    bare.units(watched_service="[Service]\nWatchdogSec=500ms\nExecStart=sleep 10000\n")
    bare.run("systemctl", "start", "watched.service")
    bare.run("systemctl", "kill", "--signal=STOP", "watched.service")
    bare.wait("watched.service", "Result", "watchdog")


def test_the_boot_id_of_a_container_is_hidden_from_sandboxed_services(bare: Bare) -> None:
    """252; 257 shows them the container's."""
    path = "/proc/sys/kernel/random/boot_id"
    ours = bare.run("cat", path)
    assert bare.transient(command=f"cat {path}").stdout.strip() == ours
    seen = bare.transient("ProtectKernelTunables=yes", command=f"cat {path}").stdout.strip()
    assert (seen != ours) == (bare.version < 257)


def test_verify_takes_a_colon_in_a_path_for_an_alias(bare: Bare) -> None:
    for directory in ("/run/plain", "/run/with:colon"):
        bare.machine.write(f"{directory}/verified.service", "[Service]\nExecStart=/bin/true\n")
    bare.run("systemd-analyze", "verify", "/run/plain/verified.service")
    assert "aliases" in bare.fails("systemd-analyze", "verify", "/run/with:colon/verified.service")


def test_a_unit_that_is_masked_while_it_starts_never_ends_starting(bare: Bare) -> None:
    """systemd hears no READY=1 of it, and forgets TimeoutStartSec=."""
    notify = "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=1s\nExecStart="
    ready = "sh -c 'read line </run/gate; systemd-notify --ready; echo notified; exec sleep 10000'\n"
    bare.run("mkfifo", "/run/gate")
    bare.units(masked_service=notify + ready, late_service=notify + "sleep 10000\n")
    bare.run("systemctl", "start", "--no-block", "masked.service")
    bare.run("ln", "--symbolic", "--force", "/dev/null", f"{UNITS}/masked.service")
    bare.run("systemctl", "daemon-reload")
    bare.run("sh", "-c", "echo >/run/gate")
    bare.machine.wait_for(lambda: "notified" in bare.journal("masked.service"), what="READY=1")
    bare.run("systemctl", "start", "--no-block", "late.service")
    bare.wait("late.service", "Result", "timeout")
    assert bare.show("masked.service", "ActiveState") == "activating"
    bare.run("systemctl", "kill", "--signal=KILL", "masked.service")


def test_a_file_in_etc_wins_over_a_runtime_mask(bare: Bare) -> None:
    bare.machine.write("/etc/systemd/system/etc.service", SLEEP)
    bare.run("systemctl", "daemon-reload")
    bare.run("systemctl", "mask", "--runtime", "etc.service")
    assert bare.show("etc.service", "LoadState") == "loaded"


def test_an_environment_file_that_is_a_fifo_stops_systemd(bare: Bare) -> None:
    """All of it, until somebody writes."""
    bare.run("mkfifo", "/run/variables")
    bare.units(waiting_service="[Service]\nEnvironmentFile=/run/variables\nExecStart=sleep 10000\n")
    start = bare.machine.popen(["systemctl", "start", "waiting.service"])
    try:
        deadline = time.monotonic() + TIMEOUT
        while answers(bare):
            assert time.monotonic() < deadline, "systemd never stops"
    finally:
        bare.run("sh", "-c", "echo A=1 >/run/variables")
        start.wait(TIMEOUT)
    bare.machine.wait_unit("waiting.service")


def answers(bare: Bare) -> bool:
    """True if systemd answers within a second."""
    try:
        bare.machine.run(["systemctl", "show", "--property=Version"], timeout=1)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_a_late_journald_does_not_know_the_invocation_of_a_process_that_has_ended(bare: Bare) -> None:
    journald = bare.show("systemd-journald.service", "MainPID")
    bare.run("kill", "-STOP", journald)
    try:
        bare.run("systemd-run", "--quiet", "--wait", "--unit=late-words", "echo", "last words")
    finally:
        bare.run("kill", "-CONT", journald)
    bare.run("journalctl", "--sync")
    [line] = bare.run("journalctl", "--output=json", "--unit=late-words", "MESSAGE=last words").splitlines()
    entry = json.loads(line)
    assert entry["_SYSTEMD_UNIT"] == "late-words.service"
    assert "_SYSTEMD_INVOCATION_ID" not in entry


def test_verify_is_content_with_a_key_that_it_does_not_know(bare: Bare) -> None:
    """Its exit status is 0; what it says is on standard error."""
    bare.machine.write("/run/plain/odd.service", "[Service]\nExecStart=/bin/true\nExecStrat=/bin/true\n")
    done = bare.machine.run(["systemd-analyze", "verify", "/run/plain/odd.service"])
    assert "Unknown key" in done.stderr
