"""deployd metrics without what it needs, with too much, and without clients."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from deployd_cli.main import main


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in [name for name in sys.modules if name.startswith("deployd_cli.monitoring.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("deployd_cli.monitoring.exporter", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["metrics"]) == 1
    sentence = "metrics need the Python package prometheus_client: install python3-prometheus-client"
    assert capsys.readouterr() == ("", f"deployd: {sentence}\n")


def test_a_server_writes_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--serve", "--output", "/srv/deployd.prom"]) == 2
    out, err = capsys.readouterr()
    assert (out, "--serve cannot be combined with --output" in err) == ("", True)


def test_a_server_needs_a_socket(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert main(["metrics", "--serve"]) == 1
    assert capsys.readouterr().err.endswith("start it with: systemctl start deployd-metrics.socket\n")


def test_a_server_without_clients_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from deployd_cli.monitoring import http_server

    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setattr(http_server._Server, "timeout", 0.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        monkeypatch.setattr(http_server, "FIRST_PASSED", os.dup(listener.fileno()))
        assert main(["metrics", "--serve"]) == 0
