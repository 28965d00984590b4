"""Drop-ins: which apply to a unit, which of them counts, and which of their settings break an app."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import InvalidFile, Refused
from deployd.units.directory import UnitDirectory
from deployd.units.drop_ins import DropIns, assignments, names
from tests.units.rendered import rendered
from tests.units.test_verification import needs_analyze


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("web.service", ["web.service", "service"]),
        ("web@.service", ["web@.service", "service"]),
        ("web@3.service", ["web@3.service", "web@.service", "service"]),
        ("my-web-app.socket", ["my-web-app.socket", "my-web-.socket", "my-.socket", "socket"]),
        ("my-web@3.service", ["my-web@3.service", "my-@3.service", "my-web@.service", "my-@.service", "service"]),
        ("web:2.socket", ["web:2.socket", "socket"]),
        ("a.b.service", ["a.b.service", "service"]),
    ],
)
def test_names(unit: str, expected: list[str]) -> None:
    assert names(unit) == expected


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_AT_", "@").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_most_specific_directory_and_the_first_place_win(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    write(etc, web_service_d__b_conf="[Service]\nA=etc", service_d__a_conf="[Service]\nB=type", service_d__b_conf="")
    write(usr, web_service_d__b_conf="[Service]\nA=usr", web_service_d__c_conf="[Service]\nC=usr")
    (etc / "web.service.d/c.conf").symlink_to("/dev/null")
    write(etc, web_service_d__not_a_drop_in="[Service]\nD=1")
    found = DropIns([etc, usr]).of("web.service")
    assert [(item.path.name, item.text) for item in found] == [
        ("a.conf", "[Service]\nB=type"),
        ("b.conf", "[Service]\nA=etc"),
        ("c.conf", ""),
    ]


def test_lines_are_read_as_systemd_reads_them() -> None:
    text = (
        "# x\n[Service]\n ExecStart = /bin/a \\\n# comment\n  b\n;y\nExecStart=\n[Unit]\nnonsense\nConditionHost=a=b\n"
    )
    assert list(assignments(text)) == [
        ("Service", "ExecStart", "/bin/a    b"),
        ("Service", "ExecStart", ""),
        ("Unit", "ConditionHost", "a=b"),
    ]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(item, tuple) for item in assignments(text))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "web.service.d",
            "[Service]\nExecStart=\nExecStart=/bin/old\n",
            r"web\.service\.d/x\.conf sets ExecStart=: .*would",
        ),
        ("web.service.d", "[Service]\nRestart=always\n", r"sets Restart=: this unit runs no program.*web@\.service\.d"),
        (
            "service.d",
            "[Unit]\nStartLimitIntervalSec=10\n",
            r"service\.d/x\.conf sets StartLimitIntervalSec=: a start limit",
        ),
        ("web@.service.d", "[Service]\nSockets=x.socket\n", "sets Sockets=: deployd passes the sockets"),
        ("web.socket.d", "[Socket]\nListenStream=\n", "sets ListenStream=: the addresses are those of listen"),
    ],
)
def test_a_drop_in_that_breaks_an_app_is_named(tmp_path: Path, path: str, text: str, expected: str) -> None:
    (tmp_path / path).mkdir()
    (tmp_path / path / "x.conf").write_text(text)
    with pytest.raises(Refused, match=expected):
        asyncio.run(UnitDirectory(tmp_path, others=()).verify("web", rendered()))


@needs_analyze
def test_a_harmless_drop_in_is_honoured_and_one_that_systemd_refuses_is_named(tmp_path: Path) -> None:
    units = UnitDirectory(tmp_path, others=())
    path = tmp_path / "web@.service.d/x.conf"
    path.parent.mkdir()
    path.write_text("[Service]\nMemoryMax=1G\nNoSuchThing=1\nRestart=no\n")
    asyncio.run(units.verify("web", rendered()))
    path.write_text("[Service]\nExecStartPre=/nonexistent/x\n")
    with pytest.raises(InvalidFile, match="Command /nonexistent/x is not executable"):
        asyncio.run(units.verify("web", rendered()))


def test_a_number_with_a_drop_in_that_breaks_it_is_unfit(tmp_path: Path) -> None:
    for number, text in ((3, "[Service]\nType=simple\n"), (4, "[Service]\nNice=1\n")):
        (tmp_path / f"web@{number}.service.d").mkdir()
        (tmp_path / f"web@{number}.service.d/x.conf").write_text(text)
    (tmp_path / "web@x.service.d").mkdir()
    drop_ins = DropIns([tmp_path])
    assert drop_ins.single("web") == {3, 4}
    assert drop_ins.unfit("web").keys() == {3}
    assert re.search(r"web@3\.service\.d/x\.conf sets Type=", drop_ins.unfit("web")[3])
