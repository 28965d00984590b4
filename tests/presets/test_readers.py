"""What the readers take from the files of a release, and what they say they do not take."""

from __future__ import annotations

from typing import Any

import pytest

from deployd_cli.presets.facts import Facts
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import facts_of, object_literal
from tests.presets.projects import project


def value(found: Project | Facts, name: str) -> Any:
    facts = facts_of(found) if isinstance(found, Project) else found
    return facts.values[name].content


def test_procfile() -> None:
    facts = facts_of(
        project(
            {
                "Procfile": "web: A=1 SECRET_KEY=x gunicorn mysite.wsgi --log-file -\nworker: celery\n"
                "release: ./migrate all\n"
            }
        )
    )
    assert facts.commands[0].words == ("gunicorn", "mysite.wsgi", "--log-file", "-")
    assert value(facts, "environment") == {"A": "1"}
    assert value(facts, "wsgi") == "mysite.wsgi:application"
    assert facts.unclear == (
        "Procfile sets SECRET_KEY: put them into environment_files, because others can read an app file",
    )
    assert facts.before is not None
    assert facts.before.words == ("./migrate", "all")
    assert [(item.name, item.command.words) for item in facts.processes] == [("worker", ("celery",))]


def test_processes_of_a_procfile() -> None:
    facts = facts_of(
        project(
            {
                "Procfile": "web: bin/serve\nMail_Worker: QUEUE=mail API_KEY=x bundle exec sidekiq -q mail\n"
                "clock: cd jobs && bundle exec clockwork clock.rb\nadmin: bin/admin -p $PORT\n9: bin/odd\n"
                "mail-worker: bin/again\nempty:\n"
            }
        )
    )
    assert [(item.name, item.environment) for item in facts.processes] == [
        ("mail-worker", {"QUEUE": "mail"}),
        ("clock", {}),
    ]
    assert facts.processes[0].command.words == ("bundle", "exec", "sidekiq", "-q", "mail")
    assert facts.processes[1].command.shell == "cd jobs && exec bundle exec clockwork clock.rb"
    assert facts.unclear == (
        "Procfile sets API_KEY for Mail_Worker: put them into environment_files, because others can read an app file",
        "Procfile has the process admin, which listens on $PORT: give it an app file of its own",
        *(
            f"Procfile has the process {name}, which is not taken over: this app file does not run it"
            for name in ("9", "mail-worker", "empty")
        ),
    )


@pytest.mark.parametrize(
    ("line", "kind", "target"),
    [
        ("gunicorn -w 4 -k gthread shop.web:app", "wsgi", "shop.web:app"),
        ("gunicorn -k uvicorn.workers.UvicornWorker main:app", "asgi", "main:app"),
        ("venv/bin/python -m uvicorn --factory shop:create_app --port $PORT", "asgi", "shop:create_app"),
        ("hypercorn -b 0.0.0.0:$PORT shop:app", "asgi", "shop:app"),
        ("waitress-serve --port=$PORT wsgi:application", "wsgi", "wsgi:application"),
        ("gunicorn --bind 0.0.0.0:80 wsgi", "wsgi", "wsgi:application"),
    ],
)
def test_the_application_of_a_start_command(line: str, kind: str, target: str) -> None:
    assert value(project({"Procfile": f"web: {line}"}), kind) == target


@pytest.mark.parametrize(
    ("line", "shell"),
    [
        ("bin/serve --port $PORT", ""),
        ("bin/serve --port ${PORT}", ""),
        ("bin/serve --port ${PORT:-80}", "exec bin/serve --port ${PORT:-80}"),
        ("cd web && ./serve", "cd web && exec ./serve"),
        ("cd web && A=1 ./serve", "cd web && exec env A=1 ./serve"),
        ("A=$B ./serve", "exec env A=$B ./serve"),
        ("./serve | tee log", "./serve | tee log"),
        ("./a & ./serve", "./a & ./serve"),
        ("cd web; ./serve", "cd web; ./serve"),
        ("./x && cd web", "./x && cd web"),
        ("exec ./serve $HOME", "exec ./serve $HOME"),
    ],
)
def test_a_command_that_needs_a_shell(line: str, shell: str) -> None:
    assert facts_of(project({"Procfile": f"web: {line}"})).commands[0].shell == shell


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("app = Flask(__name__)", "wsgi", "app"),
        ("web: Flask = flask.Flask('x')", "wsgi", "web"),
        ("def application(environ, start_response):", "wsgi", "application"),
        ("api = FastAPI(title='x')", "asgi", "api"),
        ("async def app(scope, receive, send):", "asgi", "app"),
    ],
)
def test_the_application_of_source_code(text: str, kind: str, name: str) -> None:
    facts = facts_of(project({"shop/main.py": f"import x\n{text}\n"}))
    assert set(facts.values) == {kind}
    assert value(facts, kind) == f"shop.main:{name}"


def test_the_interpreter_of_a_virtual_environment() -> None:
    facts = facts_of(project({"requirements.txt": "flask"}, "venv/bin/python"))
    assert (value(facts, "python"), value(facts, "venv")) == ("venv/bin/python", "venv")


def test_lock_files_have_the_versions() -> None:
    lock = '[[package]]\nname = "Django"\nversion = "5.2.1"\n'
    facts = facts_of(project({"pyproject.toml": '[tool.poetry.dependencies]\nDjango = "^5"\n', "poetry.lock": lock}))
    package = facts.package("python:django")
    assert package is not None
    assert (package.version, package.file) == ("5.2.1", "poetry.lock")


@pytest.mark.parametrize(
    ("texts", "path"),
    [
        ({"config/routes.rb": 'get "up" => "rails/health#show", as: :x'}, "/up"),
        ({"app.py": '@app.get("/healthz")'}, "/healthz"),
        ({"server.js": "app.get('/_status', f)"}, "/_status"),
        ({"main.go": 'http.HandleFunc("/readyz/", f)'}, "/readyz"),
    ],
)
def test_the_path_of_a_health_check(texts: dict[str, str], path: str) -> None:
    assert value(project(texts), "probe") == path


@pytest.mark.parametrize(("file", "key"), [("Gemfile", "gemfile"), ("config/puma.rb", "puma_config")])
def test_files_of_ruby(file: str, key: str) -> None:
    assert value(project({file: ""}), key) == file
    assert key not in facts_of(project({"Rakefile": ""})).values


def test_the_script_of_node() -> None:
    assert value(project({"package.json": '{"main": "./lib.js"}'}, "lib.js", "server.js"), "script") == "lib.js"
    assert value(project({"package.json": "{}"}, "src/index.js"), "script") == "src/index.js"
    started = project({"package.json": '{"scripts": {"start": "NODE_ENV=x node --enable-source-maps dist/main.js"}}'})
    assert (value(started, "script"), value(started, "environment")) == ("dist/main.js", {"NODE_ENV": "x"})
    assert value(started, "node_options") == ("--enable-source-maps",)
    options = project({"package.json": '{"scripts": {"start": "nodemon -r dotenv/config ./server.js --colour 1"}}'})
    assert value(options, "node_options") == ("-r", "dotenv/config")
    assert (value(options, "script"), value(options, "arguments")) == ("./server.js", ("--colour", "1"))
    assert value(project({"package.json": '{"scripts": {"start": "next start"}}'}), "start") == ("next", "start")


def test_package_json_that_is_no_json_is_mentioned() -> None:
    assert facts_of(project({"package.json": "{,}"})).unclear == ("package.json is not valid JSON",)


ECOSYSTEM = """// deployed by pm2
'use strict';
module.exports = {
  apps: [
    {
      name: 'shop', script: "./dist/server.js", args: ["--color", 1], instances: 4, exec_mode: "cluster",
      env: { NODE_ENV: 'production', PORT: 3000, API_TOKEN: "x", DEBUG: false },
      max_memory_restart: '300M', /* and so on */
    },
    { name: "mailer", script: "mailer.js" },
  ],
};
"""


def test_an_ecosystem_file_of_pm2() -> None:
    facts = facts_of(project({"ecosystem.config.js": ECOSYSTEM}))
    assert facts.commands[0].words == ("node", "dist/server.js", "--color", "1")
    assert {name: found.content for name, found in facts.values.items()} == {
        "script": "dist/server.js",
        "arguments": ("--color", "1"),
        "instances": "4",
        "environment": {"NODE_ENV": "production", "DEBUG": "false"},
        "command": ("node", "dist/server.js", "--color", "1"),
    }
    assert facts.unclear == (
        "ecosystem.config.js: not taken over: max_memory_restart",
        "ecosystem.config.js sets API_TOKEN: put them into environment_files, because others can read an app file",
        "ecosystem.config.js sets PORT=3000: listen has the address, and each instance its own $PORT",
        'ecosystem.config.js also has the app "mailer": it needs an app file of its own',
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("const x = 1;\nmodule.exports = {apps: []}", "is more than a plain object (line 1) and was not read"),
        ("module.exports = {\n apps: [{script: path.join('a')}]}", "is more than a plain object (line 2)"),
        ("module.exports = {apps: [{name: 'x'}]}", "names no script"),
        ("module.exports = {apps: [{script: 'a.js', instances: 'many'}]}", "instances was not understood"),
    ],
)
def test_what_was_not_understood_is_said(text: str, sentence: str) -> None:
    [unclear] = facts_of(project({"ecosystem.config.js": text})).unclear
    assert sentence in unclear


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ("[1, -2.5, 'a\\'b', \"c\\n\", `d`, true, null,]", [1, -2.5, "a'b", "c\n", "d", True, None]),
        ("{a: {b: []}, 'c d': 1, 2: 3}", {"a": {"b": []}, "c d": 1, "2": 3}),
    ],
)
def test_plain_objects(text: str, expected: object) -> None:
    assert object_literal.parse(text) == expected


@pytest.mark.parametrize("text", ["", "{", "[1 2]", "{a}", "{a: b}", "`${x}`", "f()", "[" * 30, "{,}", "1px"])
def test_what_is_not_plain(text: str) -> None:
    with pytest.raises(object_literal.NotPlain):
        object_literal.parse(text)


def test_go_rust_and_java() -> None:
    go = project(
        {"go.mod": "module x.org/a/shop\n\nrequire (\n\tgithub.com/gin-gonic/gin v1.9.1\n)\n"},
        programs=("bin/shop", "bin/cli"),
    )
    assert value(go, "program") == "bin/shop"
    assert [package.shown for package in facts_of(go).packages] == ["github.com/gin-gonic/gin 1.9.1"]
    rust = project(
        {"Cargo.toml": '[package]\nname = "shop"\n[dependencies]\naxum = "0.8"\n'}, programs=("target/release/shop",)
    )
    assert value(rust, "program") == "target/release/shop"
    assert facts_of(rust).package("rust:axum")
    java = project(
        {"pom.xml": "<artifactId>spring-boot-starter-web</artifactId>"}, "target/shop.jar", "target/shop-sources.jar"
    )
    assert value(java, "jar") == "target/shop.jar"
    assert facts_of(java).package("java:spring-boot-starter-web")


def test_marks_of_source_code() -> None:
    facts = facts_of(project({"main.go": 'os.NewFile(3, "") NOTIFY_SOCKET', "server.js": "process.env.PORT SIGTERM"}))
    assert facts.marks == {
        "takes-socket": "main.go",
        "notifies": "main.go",
        "reads-port": "server.js",
        "handles-sigterm": "server.js",
    }
    assert "takes-socket" in facts_of(project({"src/main.rs": "TcpListener::from_raw_fd(3)"})).marks
