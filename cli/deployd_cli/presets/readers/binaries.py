"""Compiled programs and archives, and the files that say in which language they were written."""

from __future__ import annotations

import re
import tomllib

from deployd_cli.presets.facts import Facts, Found, Package
from deployd_cli.presets.project import Project

_REQUIRED = re.compile(r"^[ \t]*(?:require[ \t]+)?([a-z0-9.-]+\.[a-z]+/[\w./~-]+) v([\w.+-]+)", re.MULTILINE)
_ARTIFACT = re.compile(r"<artifactId>\s*([\w.-]+)\s*</artifactId>|[\"'][\w.-]+:([\w.-]+)(?::[\w.$-]+)?[\"']")
_SERVER_CONFIGURATIONS = {"nginx_conf": "nginx.conf", "haproxy_cfg": "haproxy.cfg", "caddyfile": "Caddyfile"}


def read(project: Project) -> Facts:
    """Return the one program or archive that may be the server, and the dependencies of Go, Rust and Java."""
    values = {}
    if program := _program(project):
        values["program"] = Found(program, program)
    archives = [name for pattern in ("*.jar", "target/*.jar", "build/libs/*.jar") for name in project.matching(pattern)]
    archives = [name for name in archives if not name.endswith(("-sources.jar", "-javadoc.jar", "-plain.jar"))]
    if archives:
        values["jar"] = Found(archives[0], archives[0])
    for key, file in _SERVER_CONFIGURATIONS.items():
        if file in project.names:
            values[key] = Found(file, file)
    return Facts(packages=(*_go(project), *_rust(project), *_java(project)), values=values)


def _program(project: Project) -> str:
    """Return the program; "" if it is not clear which one."""
    try:
        name = tomllib.loads(project.text("Cargo.toml")).get("package", {}).get("name")
    except (tomllib.TOMLDecodeError, RecursionError, AttributeError):
        name = None
    module = re.search(r"^module[ \t]+(\S+)", project.text("go.mod"), re.MULTILINE)
    names = [
        str(name) if name else "",
        str(module[1]).rpartition("/")[2] if module else "",
        "app",
        "server",
        "main",
        "web",
    ]
    for wanted in filter(None, names):
        for directory in ("", "bin/", "target/release/"):
            if directory + wanted in project.programs:
                return directory + wanted
    return next(iter(project.programs)) if len(project.programs) == 1 else ""


def _go(project: Project) -> list[Package]:
    found = _REQUIRED.findall(project.text("go.mod"))
    return [Package(f"go:{name.lower()}", version, "go.mod") for name, version in found]


def _rust(project: Project) -> list[Package]:
    try:
        dependencies = tomllib.loads(project.text("Cargo.toml")).get("dependencies", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    names = dependencies if isinstance(dependencies, dict) else {}
    return [Package(f"rust:{name.lower()}", "", "Cargo.toml") for name in names if name.isprintable()]


def _java(project: Project) -> list[Package]:
    found: dict[str, Package] = {}
    for file in ("pom.xml", "build.gradle", "build.gradle.kts"):
        for first, second in _ARTIFACT.findall(project.text(file)):
            name = (first or second).lower()
            found.setdefault(name, Package(f"java:{name}", "", file))
    return list(found.values())
