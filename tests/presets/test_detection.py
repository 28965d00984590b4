"""Which preset a release gets, and why."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import facts_of
from deployd_cli.presets.release_files import _WANTED
from tests.presets.projects import project, proposed

LOCK = "GEM\n  specs:\n    puma (6.4.2)\n      nio4r (~> 2.0)\n    rails (7.1.3)\n"
FLASK = "from flask import Flask\n\napplication = Flask(__name__)\n"
FASTAPI = "import fastapi\n\napi: fastapi.FastAPI = fastapi.FastAPI()\n"
TORNADO = "import tornado.web\n\ntornado.ioloop.IOLoop.current().start()\n"
MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")\n'


@pytest.mark.parametrize(
    ("found", "preset", "reason"),
    [
        (project({"Gemfile.lock": LOCK, "Gemfile": 'gem "puma", "~> 6"'}), "puma", "Gemfile.lock names puma 6.4.2"),
        (project({"Gemfile": 'gem "puma", "~> 5.6"\n'}), "puma", "Gemfile names puma 5.6"),
        (project({"config.ru": "run App"}), "puma", "the release has config.ru"),
        (
            project({"Gemfile": 'gem "puma"', "Procfile": "web: bin/rails server -p $PORT"}),
            "puma",
            "Gemfile names puma and Procfile starts rails server",
        ),
        (
            project({"requirements.txt": "Flask==3.1\ngunicorn>=21.2 # x\n"}),
            "gunicorn",
            "requirements.txt names gunicorn 21.2",
        ),
        (project({"wsgi.py": FLASK}), "gunicorn", "wsgi.py has a WSGI application"),
        (project({"Procfile": "web: gunicorn -k sync app:app"}), "gunicorn-sync", "Procfile starts gunicorn sync"),
        (
            project(
                {
                    "requirements.txt": "gunicorn",
                    "manage.py": MANAGE,
                    "pyproject.toml": '[project]\ndependencies = ["Django>=5.2"]',
                },
                "mysite/wsgi.py",
            ),
            "django",
            "pyproject.toml names django 5.2 and the release has manage.py",
        ),
        (
            project({"manage.py": MANAGE, "Procfile": "web: python manage.py runserver"}),
            "django",
            "Procfile starts runserver",
        ),
        (
            project({"pyproject.toml": '[project]\ndependencies = ["uvicorn[standard]==0.54.0"]'}),
            "uvicorn",
            "pyproject.toml names uvicorn 0.54.0",
        ),
        (project({"main.py": FASTAPI}), "uvicorn", "main.py has an ASGI application"),
        (
            project({"package.json": '{"dependencies": {"express": "^5.0.1"}, "scripts": {"start": "node app.js"}}'}),
            "express",
            "package.json names express 5.0.1",
        ),
        (project({"package.json": '{"scripts": {"start": "node app.js"}}'}), "node", "package.json starts node"),
        (project({"package.json": "{}"}, "index.js"), "node", "the release has package.json and package.json names"),
        (project({"package.json": '{"scripts": {"start": "next start"}}'}), "node", "the release has package.json"),
        (
            project({"ecosystem.config.js": "module.exports = {apps: [{script: './app.js', instances: 2}]}"}),
            "node",
            "ecosystem.config.js starts node",
        ),
        (
            project({"composer.json": '{"require": {"laravel/framework": "^11"}}'}, "public/index.php"),
            "php-fpm",
            "the release has composer.json",
        ),
        (project({"go.mod": "module example.org/shop\n"}, programs=("shop",)), "go", "the release has go.mod"),
        (project({"nginx.conf": "events {}"}), "nginx", "the release has nginx.conf"),
        (project({"Procfile": "web: bin/serve --port $PORT"}), "generic-port", "Procfile has a start command"),
        (
            project({"requirements.txt": "gunicorn\ngevent==24.2\n", "app.py": FLASK}),
            "gunicorn-gevent",
            "requirements.txt names gunicorn and requirements.txt names gevent 24.2",
        ),
        (
            project({"Procfile": "web: gunicorn --worker-class=gevent app:app"}),
            "gunicorn-gevent",
            "Procfile starts gun",
        ),
        (
            project({"Procfile": "web: gunicorn -k uvicorn.workers.UvicornWorker app:app"}),
            "gunicorn-uvicorn",
            "Procfile starts gunicorn uvicorn.workers.UvicornWorker",
        ),
        (project({"Pipfile": '[packages]\nhypercorn = "*"'}), "hypercorn", "Pipfile names hypercorn"),
        (project({"requirements.txt": "granian[reload]==2.8"}), "granian", "requirements.txt names granian 2.8"),
        (project({"requirements.txt": "uWSGI"}), "uwsgi", "requirements.txt names uwsgi"),
        (
            project({"requirements.txt": "tornado>=6", "serve.py": TORNADO}),
            "tornado",
            "requirements.txt names tornado 6",
        ),
        (project({"serve.py": TORNADO}), "tornado", "serve.py starts Tornado"),
        (project({"requirements.txt": "waitress"}), "waitress", "requirements.txt names waitress"),
        (project({"Gemfile": 'gem "unicorn"'}, "config.ru"), "unicorn", "Gemfile names unicorn"),
        (project({}, "Passengerfile.json", "config.ru"), "passenger", "the release has Passengerfile.json"),
        (project({"haproxy.cfg": "global"}), "haproxy", "the release has haproxy.cfg"),
        (project({"Caddyfile": "{}"}), "caddy", "the release has Caddyfile"),
        (project({"Cargo.toml": ""}), "rust", "the release has Cargo.toml"),
        (project({"pom.xml": ""}, "target/shop.jar"), "java", "target/shop.jar is a Java archive"),
        (project({"main.c": "x", "m.py": "LISTEN_FDS"}, programs=("bin/serve",)), "generic-exec", "bin/serve is"),
        (
            project({"m.py": "LISTEN_FDS NOTIFY_SOCKET"}, programs=("x",)),
            "generic-notify",
            "x is an executable program",
        ),
        (project(programs=("bin/serve",)), "generic-port", "bin/serve is an executable program"),
    ],
)
def test_the_best_proposal(found: Project, preset: str, reason: str) -> None:
    best = proposed(found)[0]
    assert best.preset.name == preset
    assert best.reason.startswith(reason)


def test_nothing_is_proposed_for_nothing() -> None:
    assert proposed(project()) == []
    assert proposed(project({"README.md": "puma, gunicorn"})) == []


def test_others_that_fit_follow() -> None:
    found = project({"requirements.txt": "gunicorn\nuvicorn\n", "main.py": FASTAPI})
    assert [item.preset.name for item in proposed(found)][:2] == ["gunicorn-uvicorn", "gunicorn"]


WORDS = st.sampled_from(
    [
        *(
            "web:",
            "gunicorn",
            "-k",
            "sync",
            "app:app",
            "node",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            ":",
            ",",
            "=",
            '"',
            "'",
            "`",
        ),
        *(
            "module.exports",
            "apps",
            "script",
            "env",
            "instances",
            '"scripts"',
            '"start"',
            '"dependencies"',
            "[project]",
        ),
        *(
            "dependencies",
            "specs:",
            "    puma (6)",
            "gem",
            "\n",
            "\\",
            "$PORT",
            "null",
            "1",
            "-1",
            "1e999",
            "\x00",
            "é",
        ),
        *("name", "packages", "[package]", "{}", "/*", "*/", "//", "[[", "]]", "require", "<artifactId>", "\ud800"),
    ]
)
TEXTS = st.text(max_size=200) | st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join)
NAMES = st.sampled_from(
    [
        *("Procfile", "Gemfile", "Gemfile.lock", "package.json", "composer.json", "manage.py", "config.ru", "go.mod"),
        *("pom.xml", "pyproject.toml", "Pipfile", "build.gradle", "Cargo.toml", "nginx.conf", "requirements.txt"),
        *("ecosystem.config.js", "ecosystem.config.json", "poetry.lock", "config/routes.rb", "app.py", "a/wsgi.py"),
        *("main.go", "src/main.rs", "server.js"),
    ]
)


@given(st.dictionaries(NAMES, TEXTS, max_size=6), st.sets(st.text(max_size=20), max_size=5))
def test_it_never_raises_and_says_nothing_unprintable(texts: dict[str, str], programs: set[str]) -> None:
    found = Project(frozenset({*texts, *programs}), texts, frozenset(programs))
    facts = facts_of(found)
    for proposal in proposed(found):
        assert proposal.reason
    for sentence in facts.unclear:
        assert sentence.isprintable()
    for package in facts.packages:
        assert package.shown.isprintable()


def test_the_names_above_are_those_that_are_read() -> None:
    for name in ("Procfile", "ecosystem.config.js", "a/wsgi.py", "src/main.rs", "config/routes.rb", "poetry.lock"):
        assert any(pattern.fullmatch(name) for pattern in _WANTED), name


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        " ",
        "//",
        "/**/",
        "a.",
        "{",
        "[",
        '"',
        'get "a" ',
        "gem ",
        "DJANGO_SETTINGS_MODULE', 'a.settings",
        "module a",
        "'",
    ],
)
def test_hostile_files_are_read_in_no_time(piece: str) -> None:
    text = piece * (64 * 1024 // len(piece))
    names = [name for name in NAMES.elements if name != "Procfile"]  # type: ignore[attr-defined]
    began = time.process_time()
    proposed(project({**dict.fromkeys(names, text), "Procfile": f"web: {text}"}))
    assert time.process_time() - began < 10
