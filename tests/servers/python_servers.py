"""Servers of Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.servers.server import APPS, PYTHON, Server

CHECK: dict[str, Any] = {"environment": {"DEPLOYD_CHECK": "/_status"}}
PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
WSGI: dict[str, Path | str] = {"app.py": APPS / "flask_app.py"}
ASGI: dict[str, Path | str] = {"app.py": APPS / "fastapi_app.py"}


def version(package: str) -> str:
    return f"{PYTHON} -c \"import importlib.metadata; print(importlib.metadata.version('{package}'))\""


def of_python(name: str, title: str, package: str, settings: dict[str, Any], files: dict[str, Path | str]) -> Server:
    """Return a server from PyPI whose preset has its name."""
    return Server(name, title, name, settings, files, version(package), python=True)


SYNC = replace(
    of_python("gunicorn-sync", "gunicorn sync, Flask", "gunicorn", CHECK, WSGI),
    note="it serves one connection at a time, so others wait behind slow responses, uploads and downloads",
)
GTHREAD = of_python("gunicorn", "gunicorn gthread, Flask", "gunicorn", CHECK, WSGI)
GEVENT = of_python("gunicorn-gevent", "gunicorn gevent, Flask", "gunicorn", CHECK, WSGI)
UVICORN_WORKER = replace(
    of_python(
        "gunicorn-uvicorn",
        "gunicorn, uvicorn-worker, FastAPI",
        "gunicorn",
        PROBE,
        {**ASGI, "requirements.txt": "fastapi\nuvicorn\nuvicorn-worker\n"},
    ),
    websockets=True,
)
UVICORN = replace(of_python("uvicorn", "uvicorn, FastAPI", "uvicorn", PROBE, ASGI), websockets=True)
HYPERCORN = replace(
    of_python("hypercorn", "hypercorn, FastAPI", "hypercorn", PROBE, ASGI), websockets=True, modes=("steered",)
)
GRANIAN = replace(
    of_python("granian", "granian at $PORT, FastAPI", "granian", PROBE, ASGI), websockets=True, modes=("steered",)
)
TORNADO = replace(
    of_python("tornado", "Tornado", "tornado", PROBE, {"app.py": APPS / "tornado_app.py"}), websockets=True
)
DJANGO = Server(
    "django",
    "Django, gunicorn gthread",
    "django",
    PROBE,
    {
        "manage.py": APPS / "django/manage.py",
        "mysite/__init__.py": "",
        **{f"mysite/{name}.py": APPS / f"django/{name}.py" for name in ("settings", "urls", "wsgi")},
    },
    version("django"),
    python=True,
)
WAITRESS = of_python("waitress", "waitress, Flask", "waitress", PROBE, WSGI)
UWSGI = Server(
    "uwsgi",
    "uWSGI, Flask",
    "uwsgi",
    PROBE,
    WSGI,
    "/usr/bin/uwsgi --version",
    debian=("uwsgi-core", "uwsgi-plugin-python3"),
    setup="""
ln -sf uwsgi-core /usr/bin/uwsgi
cd /usr/lib/uwsgi/plugins
[ -e python3_plugin.so ] || ln -s python3[0-9]*_plugin.so python3_plugin.so
""",
    python=True,
    modes=("steered",),
    note="when it stops, a signal interrupts its threads, and one that waits for a client to read takes that for an"
    ' error ("poll(): Interrupted system call" in its log): a download was cut off; a proxy in front that buffers'
    " responses makes that rarer",
)
SERVERS = (GTHREAD, SYNC, GEVENT, UVICORN_WORKER, UVICORN, HYPERCORN, GRANIAN, TORNADO, WAITRESS, UWSGI, DJANGO)
