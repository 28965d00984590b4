"""requirements.txt, pyproject.toml, lock files, virtual environments, and the application in the source code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from deployd_cli.presets.facts import Facts, Found, Package
from deployd_cli.presets.project import Project

_REQUIREMENT = re.compile(
    r"^[ \t]*([A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*(?:\[[^\]\n]*\])?[ \t]*(?:[=~>]=+[ \t]*([0-9][\w.]*))?"
)
_LOCKED = re.compile(r'^name = "([\w.-]+)"\nversion = "([\w.+-]+)"', re.MULTILINE)
_WSGI = r"(?:flask\.)?Flask|bottle\.Bottle|Bottle|falcon\.App|get_wsgi_application|make_wsgi_app"
_ASGI = (
    r"(?:fastapi\.)?FastAPI|(?:starlette\.applications\.)?Starlette|Quart|Sanic|Litestar|BlackSheep"
    r"|falcon\.asgi\.App|get_asgi_application|ProtocolTypeRouter|socketio\.ASGIApp"
)
_DEFINED = {"asgi": r"async def (\w+)\(scope, *receive, *send\)", "wsgi": r"def (\w+)\(environ, *start_response\)"}
_APPLICATIONS = {
    kind: re.compile(
        rf"^(?:([A-Za-z_]\w*)(?:[ \t]*:[ \t]*[\w.]+)?[ \t]*=[ \t]*(?:{classes})\(|{_DEFINED[kind]})", re.MULTILINE
    )
    for kind, classes in (("asgi", _ASGI), ("wsgi", _WSGI))
}
_TORNADO = re.compile(r"^(?:import tornado|from tornado[. ]).*?IOLoop", re.MULTILINE | re.DOTALL)
_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*["'](\w[\w.]{0,100})\.settings[\w.]{0,100}["']""")
_MOST_DEPENDENCIES = 2000


def read(project: Project) -> Facts:
    """Return the packages, the interpreter, and the application as ``module:name``."""
    found: dict[str, Package] = {}
    for package in _packages(project):
        known = found.get(package.key)
        if len(found) < _MOST_DEPENDENCIES and (known is None or (package.version and not known.version)):
            found[package.key] = package
    values: dict[str, Found] = {}
    for directory in (".venv", "venv", "env"):
        if f"{directory}/bin/python" in project.names:
            values["python"] = Found(f"{directory}/bin/python", f"{directory}/bin/python")
            values["venv"] = Found(directory, f"{directory}/bin/python")
            if (uwsgi := f"{directory}/bin/uwsgi") in project.names:
                values["uwsgi"] = Found(uwsgi, uwsgi)
            break
    if settings := _SETTINGS.search(project.text("manage.py")):
        for kind in ("wsgi", "asgi"):
            if f"{settings[1].replace('.', '/')}/{kind}.py" in project.names:
                values[kind] = Found(f"{settings[1]}.{kind}:application", "manage.py")
    values = {**dict(_applications(project)), **values}
    unclear: tuple[str, ...] = ()
    if "manage.py" in project.names and "runserver" in project.text("Procfile"):
        unclear = (
            "Procfile starts runserver, the development server of Django: it reloads itself and cuts off requests"
            " when it stops, so it is not run; gunicorn is",
        )
    return Facts(packages=tuple(found.values()), values=values, unclear=unclear)


def _packages(project: Project) -> Iterator[Package]:
    for file in ("uv.lock", "poetry.lock"):
        for name, version in _LOCKED.findall(project.text(file)):
            yield _package(name, version, file)
    for file, text in project.sources(".txt"):
        yield from _requirements(text.splitlines(), file)
    for file in ("pyproject.toml", "Pipfile"):
        try:
            raw = tomllib.loads(project.text(file))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        yield from _declared(raw, file)


def _declared(raw: dict[str, Any], file: str) -> Iterator[Package]:
    project = _table(raw, "project")
    lists = [project.get("dependencies"), *_table(project, "optional-dependencies").values()]
    lists += _table(raw, "dependency-groups").values()
    for items in lists:
        if isinstance(items, list):
            yield from _requirements([item for item in items if isinstance(item, str)], file)
    poetry = _table(_table(raw, "tool"), "poetry")
    for names in (_table(poetry, "dependencies"), _table(raw, "packages")):
        for name in names:
            yield from _requirements([name], file)


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _requirements(lines: Iterable[str], file: str) -> Iterator[Package]:
    for line in lines:
        if found := _REQUIREMENT.match(line):
            yield _package(found[1], found[2] or "", file)


def _package(name: str, version: str, file: str) -> Package:
    return Package(f"python:{re.sub(r'[-_.]+', '-', name).lower()}", version, file)


def _applications(project: Project) -> Iterator[tuple[str, Found]]:
    """Yield the first application of each kind, files closest to the top first."""
    kinds = dict(_APPLICATIONS)
    tornado = True
    for file, text in project.sources(".py"):
        module = re.sub(r"(^|/)__init__$", "", file.removesuffix(".py")).replace("/", ".")
        if not module or "-" in module or file.startswith("test"):
            continue
        for kind, pattern in list(kinds.items()):
            if application := pattern.search(text):
                yield kind, Found(f"{module}:{application[1] or application[2]}", file)
                del kinds[kind]
        if tornado and _TORNADO.search(text):
            yield "tornado_script", Found(file, file)
            tornado = False
