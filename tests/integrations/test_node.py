"""node_preload.js: a program that knows nothing of systemd serves the socket that it was passed, and loses nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integrations.activated import INTEGRATIONS, Activated, ask

PROGRAM = """\
const server = require("http").createServer((request, response) => response.end("ok"));
server.listen(%s);
"""
HANDLER = """\
process.on("SIGTERM", () => server.close(() => { console.log("closed"); process.exit(0); }));
"""


def node(directory: Path, listen: str = "3000", more: str = "") -> Activated:
    (directory / "server.js").write_text(PROGRAM % listen + more)
    return Activated.start(["/usr/bin/node", "--require", INTEGRATIONS / "node_preload.js", "server.js"], directory)


@pytest.mark.parametrize(
    "listen", ["3000", "'3000', '0.0.0.0', () => {}", "{ port: 3000, host: '::' }", "", "0, () => {}"]
)
def test_it_serves_the_passed_socket_whatever_it_asks_for(tmp_path: Path, listen: str) -> None:
    with node(tmp_path, listen) as server, server.connect() as connection:
        assert b" 200 ok" in ask(connection)


@pytest.mark.parametrize("handler", ["", HANDLER], ids=["no handler", "a handler of its own"])
def test_a_request_on_an_idle_connection_is_answered_after_sigterm(tmp_path: Path, handler: str) -> None:
    with node(tmp_path, more=handler) as server, server.connect() as connection:
        assert b"connection: keep-alive" in ask(connection)
        server.process.terminate()
        time.sleep(0.5)
        assert b"connection: close" in ask(connection)
        status, output = server.end()
    assert status == 0, output
    assert output == ("closed\n" if handler else "")


def test_a_program_without_a_server_ends_at_sigterm(tmp_path: Path) -> None:
    (tmp_path / "server.js").write_text("console.log('up'); setInterval(() => {}, 1000);")
    argv = ["/usr/bin/node", "--require", INTEGRATIONS / "node_preload.js", "server.js"]
    with Activated.start(argv, tmp_path) as server:
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "up\n"
        assert server.stop()[0] == 143
