"""mode = "port": what it needs, and what is refused with one sentence."""

from __future__ import annotations

import pytest

from deployd.config import parse, port_mode
from deployd.errors import InvalidFile
from deployd.model.app import App, Mode

FILE = """\
release = "/srv/demo/current"
exec = ["/usr/bin/node", "server.js", "--port", "$PORT"]
listen = ["127.0.0.1:8080"]
mode = "port"
"""
GATE = '[gate]\ntype = "exec"\nprobe = { http = "/" }\n'


def read(text: str) -> App:
    return parse("demo", text, "demo.toml")


def test_a_program_with_a_port_of_its_own_is_accepted() -> None:
    app = read(FILE + GATE)
    assert app.mode is Mode.PORT
    assert app.steered
    assert App.from_json(app.to_json()) == app
    assert port_mode.doubts(app) == ()


def test_the_mode_belongs_to_the_process() -> None:
    one, two = read(FILE + GATE), read(FILE.replace('"port"', '"socket"') + GATE)
    assert one.fingerprint("/srv/demo/1") != two.fingerprint("/srv/demo/1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (FILE + 'routing = "shared"\n' + GATE, 'demo.toml:4: mode: must not be "port" with routing = "shared"'),
        (FILE + "instances = 600\n" + GATE, "600 instances are more than the 500 that can be steered"),
        (FILE, 'demo.toml:4: mode: of "port" needs a probe'),
        (FILE + '[gate]\ntype = "exec"\nprobe = { command = ["up"] }\n', 'mode: of "port" needs a probe'),
        (FILE.replace("127.0.0.1:8080", "/run/demo.sock") + GATE, "listen: must be up to 6 TCP addresses"),
        (
            FILE.replace('["127.0.0.1:8080"]', str([f"127.0.0.1:80{n}" for n in range(10, 17)])) + GATE,
            "listen: must be up to 6 TCP addresses",
        ),
        (FILE + GATE + "[rollout]\nmax_surge = 0\n", "rollout.max_surge: must be 1 or more"),
        (FILE + 'environment = { PORT = "1" }\n' + GATE, "environment.PORT: is set by deployd"),
    ],
)
def test_what_cannot_work_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        read(text)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_in_place_is_possible_with_several_instances() -> None:
    assert read(FILE + "instances = 2\n" + GATE + "[rollout]\nmax_surge = 0\nmax_unavailable = 1\n").mode is Mode.PORT


def test_a_port_that_nothing_replaces_is_a_doubt() -> None:
    text = FILE.replace('mode = "port"\n', "")
    (doubt,) = port_mode.doubts(read(text + GATE))
    assert doubt.startswith('exec passes $PORT to the program as it is: with mode = "port" each instance gets a port')
    assert port_mode.doubts(read(text + 'environment = { PORT = "8080" }\n' + GATE)) == ()
