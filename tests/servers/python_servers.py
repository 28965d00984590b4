"""Servers of Python: gunicorn and uvicorn."""

from __future__ import annotations

from typing import Any

from tests.servers.server import APPS, PYTHON, Server

CHECK: dict[str, Any] = {"environment": {"DEPLOYD_CHECK": "/_status"}}
PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
WSGI = {"app.py": APPS / "flask_app.py"}
ASGI = {"app.py": APPS / "fastapi_app.py"}


def version(package: str) -> str:
    return f"{PYTHON} -c \"import importlib.metadata; print(importlib.metadata.version('{package}'))\""


def gunicorn(name: str, title: str, preset: str) -> Server:
    return Server(name, title, preset, CHECK, WSGI, version("gunicorn"), python=True)


SYNC = gunicorn("gunicorn-sync", "gunicorn sync, Flask", "gunicorn-sync")
GTHREAD = gunicorn("gunicorn", "gunicorn gthread, Flask", "gunicorn")
UVICORN = Server("uvicorn", "uvicorn, FastAPI", "uvicorn", PROBE, ASGI, version("uvicorn"), python=True)
SERVERS = (SYNC, GTHREAD, UVICORN)
