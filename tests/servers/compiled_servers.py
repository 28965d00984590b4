"""Programs of Go, Rust and Java with their standard libraries. The compilers are large: only `make compat` has them."""

from __future__ import annotations

from typing import Any

from tests.host.root import CHECKOUT, IN_HOST
from tests.servers.server import APPS, Server

SOURCES = IN_HOST / APPS.relative_to(CHECKOUT)
PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}

GO = Server(
    "go",
    "Go net/http",
    "go",
    PROBE,
    {"server.go": APPS / "server.go"},
    "go version | cut -d ' ' -f 3",
    debian=("golang-go",),
    setup=f"mkdir -p /srv/built; go build -o /srv/built/app {SOURCES}/server.go",
    build="cp /srv/built/app app",
    large=True,
)
RUST = Server(
    "rust",
    "Rust, std",
    "rust",
    PROBE,
    {"src/main.rs": APPS / "server.rs"},
    "rustc --version | cut -d ' ' -f 2",
    debian=("rustc",),
    setup=f"mkdir -p /srv/built; rustc -O -o /srv/built/app {SOURCES}/server.rs",
    build="install -D /srv/built/app target/release/app",
    large=True,
    modes=("steered",),
)
JAVA = Server(
    "java",
    "Java at $PORT, jdk.httpserver",
    "java",
    {"drain": {"close_after": "0s"}, **PROBE},
    {"Server.java": APPS / "Server.java"},
    "java --version | head -n 1 | cut -d ' ' -f 2",
    debian=("default-jdk-headless",),
    setup=f"""
jdk=$(dirname "$(ls /usr/lib/jvm/*/bin/javac | head -n 1)")
[ -e /usr/bin/java ] || ln -s "$jdk/java" /usr/bin/java
mkdir -p /srv/built
cd /srv/built
"$jdk/javac" -d . {SOURCES}/Server.java
"$jdk/jar" --create --file app.jar --main-class Server ./*.class
""",
    build="cp /srv/built/app.jar app.jar",
    large=True,
    modes=("steered",),
)
SERVERS = (GO, RUST, JAVA)
