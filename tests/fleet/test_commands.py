"""What `deployd fleet` says without settings, without httpx, and of wrong options. Needs no etcd."""

from __future__ import annotations

import sys

import pytest

from deployd_cli.main import main


def test_without_settings_it_says_how_to_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["status"], ["rollout", "shop", "--release", "v2"], ["agent"]):
        assert main(["fleet", *command]) == 3
        assert capsys.readouterr().err.startswith("deployd: /etc/deployd/fleet.toml does not exist; write one with")


def test_without_httpx_it_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("deployd_cli.fleet.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert main(["fleet", "status"]) == 3
    sentence = "deployd fleet needs the Python package httpx: install python3-httpx"
    assert capsys.readouterr().err == f"deployd: {sentence}\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["rollout", "shop"], "Missing option '--release'"),
        (["rollout", "shop", "--release", "v2", "--bake", "soon"], '"soon" is not a time; examples: 500ms, 15s, 1min'),
        (["rollout", "shop", "--release", "v2", "--on-failure", "x"], '"x": allowed are stop and rollback'),
        (["rollout", "shop", "--release", "v2", "--archive", "/v2.tar"], "--archive PATH|URL and --sha256 HEX belong"),
        (["rollout", "shop", "--release", "v2", "--archive", "v2.tar", "--sha256", "0"], "must be an absolute path"),
        (["rolout", "shop"], 'there is no command "fleet rolout"; did you mean rollout?'),
        (["release-slot", "shop"], "Missing argument 'HOST'"),
    ],
)
def test_wrong_usage_is_explained(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", *options]) == 2
    assert sentence in capsys.readouterr().err
