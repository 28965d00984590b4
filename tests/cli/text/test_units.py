"""The text of units and of the files of a generation."""

from __future__ import annotations

from deployd_cli.text.paint import PLAIN
from deployd_cli.text.units import diff_lines, unit_lines

UNIT = {"name": "demo.socket", "path": "/etc/systemd/system/demo.socket", "text": "[Socket]\nA=1\n"}
LINK = {"name": "release", "path": "/var/lib/release", "link": True, "text": "/srv/2", "installed": "/srv/1"}


def test_the_diff_is_from_what_is_installed_and_empty_if_nothing_differs() -> None:
    shown = diff_lines({"units": [{**UNIT, "installed": "[Socket]\nA=2\n"}]}, PLAIN)
    assert shown[0] == "--- /etc/systemd/system/demo.socket"
    assert shown[-2:] == ["-A=2", "+A=1"]
    assert diff_lines({"units": [{**UNIT, "installed": UNIT["text"]}]}, PLAIN) == []
    assert diff_lines({"units": [{**UNIT, "installed": None}]}, PLAIN)[0] == "--- /dev/null"
    going = {"units": [{**UNIT, "installed": UNIT["text"], "text": ""}]}
    assert diff_lines(going, PLAIN)[1] == "+++ /dev/null"
    assert unit_lines(going, PLAIN) == []


def test_files_of_the_generation_follow_the_units() -> None:
    source = {"units": [UNIT], "files": [{"name": "run", "path": "/var/lib/run", "text": "exec 'a\x1b[31m'\n"}, LINK]}
    assert unit_lines(source, PLAIN) == [
        "# /etc/systemd/system/demo.socket",
        "[Socket]",
        "A=1",
        "",
        "# /var/lib/run",
        "exec 'a'",
        "",
        "# /var/lib/release -> /srv/2",
    ]
    link = ["--- /var/lib/release", "+++ /var/lib/release", "@@ -1 +1 @@", "-/srv/1", "+/srv/2"]
    assert diff_lines({"units": [], "files": [LINK]}, PLAIN) == link
