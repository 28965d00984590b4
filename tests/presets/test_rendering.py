"""Every preset's app file passes the parser, whatever was found in the release."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.config import port_mode, steering
from deployd.errors import InvalidFile, Refused
from deployd.model.app import App
from deployd_cli.presets.facts import Facts, Found, Package
from deployd_cli.presets.readers import facts_of
from deployd_cli.presets.rendering import Wishes, render, toml
from tests.presets.projects import CATALOG, project

WISHES = Wishes("web", "/srv/web/current", "127.0.0.1:8080", 4, "www-data")
INTEGRATIONS = Path(__file__).resolve().parents[2] / "integrations"
INSTALLED = "/usr/share/deployd/integrations"
HTTP = sorted(name for name, preset in CATALOG.presets.items() if "probe" in preset.guesses)
WORKERS = sorted(name for name, preset in CATALOG.presets.items() if preset.socket == "none")
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def rendered(name: str, wishes: Wishes = WISHES, facts: Facts | None = None, reason: str = "") -> str:
    return render(CATALOG.get(name), wishes, facts or Facts(), reason, CATALOG.directories).text


def parsed(text: str) -> App:
    """Parse an app file as the daemon does."""
    return config.parse("web", text, "web.toml")


@pytest.mark.parametrize("name", CATALOG.presets)
def test_every_preset_is_valid_and_raises_no_doubts(name: str) -> None:
    text = rendered(name, reason="Gemfile.lock names x 1")
    app = parsed(text)
    assert (app.release, app.instances, app.user) == ("/srv/web/current", 4, "www-data")
    assert [item.address for item in app.listen] == (["127.0.0.1:8080"] if name not in WORKERS else [])
    assert (*config.doubts(app), *steering.doubts(app), *port_mode.doubts(app)) == ()
    assert app.exec[0].startswith("/") or app.exec[0] in {"app", "bin/server", "target/release/app"}


@pytest.mark.parametrize("name", CATALOG.presets)
def test_a_whole_procfile_is_one_app_file(name: str) -> None:
    lines = "web: bin/serve\nworker: TZ=UTC sidekiq -q x\nclock: a && b\nrelease: bin/rails db:migrate\n"
    app = parsed(rendered(name, facts=facts_of(project({"Procfile": lines}))))
    worker, clock = app.processes
    assert (worker.name, worker.exec, worker.user) == ("web.worker", ("/usr/bin/env", "sidekiq", "-q", "x"), "www-data")
    assert (dict(worker.environment)["TZ"], worker.overlap, worker.gate.min_ready) == ("UTC", True, 5.0)
    assert (clock.exec, clock.overlap) == (("/bin/sh", "-c", "a && exec b"), False)
    assert app.pace.hooks.before == (("bin/rails", "db:migrate"),)


ODD = st.sampled_from(["../bin/x", "bin/", "''", "$X", "./run", "A=1", "exec a", "a; b"])


@given(
    st.lists(
        st.tuples(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True) | st.just("release"), TEXT | ODD), max_size=5
    )
)
def test_any_procfile_makes_a_valid_app_file(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{name}: {command}" for name, command in [("web", "bin/serve"), *lines])
    facts = facts_of(project({"Procfile": text}))
    app = parsed(rendered("generic-exec", facts=facts))
    assert [item.process for item in app.processes] == [item.name for item in facts.processes]
    assert bool(app.pace.hooks.before) == (facts.before is not None)


@pytest.mark.parametrize("name", CATALOG.presets)
def test_a_preset_says_what_its_app_file_does(name: str) -> None:
    preset, raw = CATALOG.get(name), tomllib.loads(rendered(name))
    assert raw.get("mode", "socket") == "port" or preset.socket != "port"
    assert "mode" not in raw or preset.socket != "inherited"
    gate = raw["gate"]
    if "READY=1" not in preset.gate:
        assert gate["type"] == "exec"
    assert "probe" in gate or gate.get("type") != "exec"
    assert any(word in preset.gate for word in ("READY=1", "probe"))


@pytest.mark.parametrize("name", HTTP)
def test_a_path_that_was_found_is_probed(name: str) -> None:
    raw = tomllib.loads(rendered(name, facts=Facts(values={"probe": Found("/up", "routes.rb")})))
    assert raw["gate"]["probe"] == {"http": "/up"}


@pytest.mark.parametrize("name", CATALOG.presets)
def test_integrations_that_are_named_exist(name: str) -> None:
    if not INTEGRATIONS.is_dir():
        pytest.skip("this checkout has no integrations")
    named = [word for word in tomllib.loads(rendered(name))["exec"] if word.startswith(f"{INSTALLED}/")]
    assert not [word for word in named if not (INTEGRATIONS / word.removeprefix(f"{INSTALLED}/")).is_file()]


@pytest.mark.parametrize("name", CATALOG.presets)
def test_texts_are_tidy(name: str) -> None:
    text = rendered(name, replace(WISHES, user=""))
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert "\n\n\n" not in text
    assert "{{" not in text
    assert text.startswith("# web: ")
    assert text.endswith("\n")
    assert '# user = "www-data"' in text


@given(text=TEXT, words=st.lists(TEXT, min_size=1, max_size=3), name=st.sampled_from(sorted(CATALOG.presets)))
def test_values_from_a_release_stay_values(text: str, words: list[str], name: str) -> None:
    several = {"command", "start", "arguments"}
    keys = {
        "asgi",
        "wsgi",
        "python",
        "program",
        "script",
        "nginx_conf",
        "shell",
        "node",
        "bundle",
        "puma",
        "gemfile",
        *several,
    }
    values = {key: Found(tuple(words) if key in several else text, "f") for key in keys}
    values["environment"] = Found({"NAME": text}, "f")
    values["probe"] = Found("/up", "f")
    raw = tomllib.loads(rendered(name, facts=Facts(values=values), reason=text))
    plain = tomllib.loads(rendered(name))
    assert set(raw) - set(plain) <= {"environment"}
    assert raw["release"] == "/srv/web/current"
    assert all(isinstance(word, str) for word in raw["exec"])


@given(st.recursive(TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)))
def test_toml_is_read_as_it_was_written(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


def test_environment_of_the_release_wins() -> None:
    facts = Facts(values={"environment": Found({"NODE_ENV": "staging", "X": "1"}, "f")})
    assert dict(parsed(rendered("node", facts=facts)).environment) == {"NODE_ENV": "staging", "X": "1"}


@pytest.mark.parametrize("listen", ["8080", "0.0.0.0:80", "[::1]:80", "[::]:80"])
@pytest.mark.parametrize("name", sorted(CATALOG.presets.keys() - WORKERS))
def test_addresses_that_loopback_reaches_fit_all(name: str, listen: str) -> None:
    assert [item.address for item in parsed(rendered(name, replace(WISHES, listen=listen))).listen] == [listen]


@pytest.mark.parametrize("listen", ["192.0.2.1:80", "/run/web/http.sock"])
@pytest.mark.parametrize("name", HTTP)
def test_an_address_at_which_one_socket_cannot_be_probed_is_refused(name: str, listen: str) -> None:
    wishes = replace(WISHES, listen=listen)
    facts = Facts(values={"probe": Found("/up", "routes.rb")})
    if CATALOG.get(name).serves_all:
        parsed(rendered(name, wishes, facts))
    else:
        with pytest.raises(Refused, match=r"--listen 127\.0\.0\.1:8080"):
            rendered(name, wishes, facts)


def test_a_wrong_template_is_named(tmp_path: Path) -> None:
    for text, problem in (
        ("{{ x }}", "is wrong: 'x' is undefined"),
        ("x =", "makes no valid TOML"),
        ("{%", "is wrong"),
    ):
        (tmp_path / "puma").mkdir(exist_ok=True)
        (tmp_path / "puma/app.toml.j2").write_text(text)
        with pytest.raises(InvalidFile, match=problem) as caught:
            render(CATALOG.get("puma"), WISHES, Facts(), "", [tmp_path])
        assert "puma/app.toml.j2" in str(caught.value)


def test_the_values_that_are_used_are_known() -> None:
    facts = Facts(values={"gemfile": Found("Gemfile", "Gemfile")})
    for found, used in ((Facts(), "puma"), (facts, "bundle")):
        result = render(CATALOG.get("puma"), WISHES, found, "", CATALOG.directories)
        assert {"probe", used} <= result.used
    assert "puma" not in result.used


def test_the_threads_of_a_configuration_of_puma_are_kept() -> None:
    facts = Facts(values={"puma_config": Found("config/puma.rb", "config/puma.rb")})
    assert "-t" not in tomllib.loads(rendered("puma", facts=facts))["exec"]


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("granian", Facts(values={"wsgi": Found("a:b", "a.py")}), ("--interface", "wsgi", "a:b")),
        ("granian", Facts(values={"wsgi": Found("a:b", "a.py"), "asgi": Found("c:d", "c.py")}), ("asgi", "c:d")),
        ("java", Facts(packages=(Package("java:spring-boot-starter-web", "", "pom.xml"),)), ("--server.port=$PORT",)),
        ("uwsgi", Facts(values={"uwsgi": Found("v/bin/uwsgi", "f"), "venv": Found("v", "f")}), ("--virtualenv", "v")),
        ("uwsgi", Facts(), ("--plugin", "python3")),
        (
            "gunicorn-uvicorn",
            Facts(packages=(Package("python:uvicorn-worker", "", "f"),)),
            ("uvicorn_worker.UvicornWorker",),
        ),
        ("node", Facts(values={"start": Found(("next", "start"), "f")}), ("node_modules/.bin/next", "start")),
        ("generic-port", Facts(values={"command": Found(("node", "x.js"), "f")}), ("/usr/bin/env", "node", "x.js")),
        ("generic-port", Facts(values={"shell": Found("cd x && ./y", "f")}), ("/bin/sh", "-c", "cd x && ./y")),
        ("node", Facts(values={"start": Found(("next", "start", "-p", "$PORT"), "f")}), ("start", "-p", "8080")),
        ("generic-exec", Facts(values={"command": Found(("bin/x", "-p"), "f")}), ("bin/x", "-p")),
        ("generic-notify", Facts(values={"command": Found(("ruby", "x"), "f")}), ("/usr/bin/env", "ruby", "x")),
        ("unicorn", Facts(), ("-l", "127.0.0.1:8080")),
        ("puma", Facts(), ("-w", "0", "-t", "5:5")),
    ],
)
def test_what_was_found_is_in_exec(name: str, facts: Facts, words: tuple[str, ...]) -> None:
    argv = tomllib.loads(rendered(name, facts=facts))["exec"]
    assert [word for word in argv if word in words] == list(words)


@pytest.mark.parametrize("name", sorted(name for name, preset in CATALOG.presets.items() if preset.socket == "either"))
def test_a_program_that_takes_the_socket_needs_no_port(name: str) -> None:
    assert tomllib.loads(rendered(name)).get("mode") == "port"
    raw = tomllib.loads(rendered(name, facts=Facts(marks={"takes-socket": "main.x"})))
    assert "mode" not in raw
    assert "--port=$PORT" not in raw["exec"]
