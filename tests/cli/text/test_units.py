"""The text of units."""

from __future__ import annotations

from deployd_cli.text.paint import PLAIN
from deployd_cli.text.units import diff_lines, unit_lines


def test_the_diff_is_from_what_is_installed_and_empty_if_nothing_differs() -> None:
    unit = {"name": "demo.socket", "path": "/etc/systemd/system/demo.socket", "text": "[Socket]\nA=1\n"}
    shown = diff_lines({"units": [{**unit, "installed": "[Socket]\nA=2\n"}]}, PLAIN)
    assert shown[0] == "--- /etc/systemd/system/demo.socket"
    assert shown[-2:] == ["-A=2", "+A=1"]
    assert diff_lines({"units": [{**unit, "installed": unit["text"]}]}, PLAIN) == []
    assert diff_lines({"units": [{**unit, "installed": None}]}, PLAIN)[0] == "--- /dev/null"
    going = {"units": [{**unit, "installed": unit["text"], "text": ""}]}
    assert diff_lines(going, PLAIN)[1] == "+++ /dev/null"
    assert unit_lines(going, PLAIN) == []
