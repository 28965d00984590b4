"""Files name the command where it is, and have no directive that the systemd of the machine does not know."""

from __future__ import annotations

from deployd_cli.setup import contents, places
from tests.docs.readme import CHECKOUT

UNIT = b"[Service]\nExecStart=/usr/bin/deployd daemon\nFileDescriptorStorePreserve=yes\nFileDescriptorStoreMax=1\n"


def test_another_path_of_the_command_is_that_of_units() -> None:
    assert b"\nExecStart=/opt/a&b\\1/bin/deployd daemon\n" in contents.adapted(UNIT, "/opt/a&b\\1/bin/deployd", 257)


def test_a_directive_that_systemd_does_not_know_is_left_out() -> None:
    assert contents.adapted(UNIT, contents.COMMAND, 254) == UNIT
    older = contents.adapted(UNIT, contents.COMMAND, 253)
    assert older == UNIT.replace(b"FileDescriptorStorePreserve=yes\n", b"")


def test_the_directives_that_may_be_left_out_are_those_of_the_units() -> None:
    units = "".join(path.read_text() for path in (CHECKOUT / "units").glob("*.service"))
    assert [directive for directive in contents.SINCE if f"\n{directive}=" not in units] == []


def test_the_wrapper_is_made_only_for_a_command() -> None:
    scope = places.system()
    assert contents.files(scope, {}, 257) == ()
    (wrapper,) = contents.files(scope, {}, 257, contents.interpreted("/opt/my deployd/bin/python"))
    assert wrapper.contents == b"#!/bin/sh\nexec '/opt/my deployd/bin/python' -I -m deployd_cli \"$@\"\n"
    assert (wrapper.destination, wrapper.mode) == ("/usr/bin/deployd", 0o755)
