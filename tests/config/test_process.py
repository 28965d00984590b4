"""[process.NAME]: what is read, what is inherited, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd import config
from deployd.errors import InvalidFile
from deployd.model.app import App, StopSettings
from deployd.model.changes import changes
from deployd.model.pace import HookSettings
from tests.config.app_text import TOP, parse, refusal

WORKER = '[process.worker]\nexec = ["bin/worker"]\nlisten = ["127.0.0.1:81"]\n'
CLOCK = '[process.clock]\nexec = ["bin/clock"]\nlisten = ["127.0.0.1:82"]\n'


def test_a_process_type_is_an_app_of_its_own() -> None:
    stop = "[process.worker.stop]\nsignal = 'SIGINT'\n"
    app = parse(f"{stop}{WORKER}instances = 3\n{CLOCK}after = ['worker', 'worker']\n")
    worker, clock = app.processes
    assert (worker.name, worker.process, worker.application, worker.instances) == ("web.worker", "worker", "web", 3)
    assert (worker.exec, worker.release, worker.after) == (("bin/worker",), "/srv/web", ("web",))
    assert (worker.stop, clock.stop) == (StopSettings("SIGINT"), StopSettings())
    assert (clock.name, clock.after, clock.instances) == ("web.clock", ("worker",), 1)
    assert (app.process, app.application, app.after) == ("", "web", ())
    assert App.from_json(app.to_json()) == app


def test_what_a_table_leaves_out_is_inherited() -> None:
    app = parse(
        "user = 'shop'\nenvironment_files = ['/etc/default/web']\n"
        "[environment]\nONE = '1'\nTWO = '2'\n[service]\nMemoryMax = '1G'\nCPUWeight = '50'\n"
        "[rollout]\nmax_surge = 2\npause_after = [1]\nhooks = { before = [['bin/migrate']] }\n"
        f"{WORKER}environment = {{ TWO = 'two', THREE = '3' }}\nservice = {{ MemoryMax = '2G' }}\n",
        instances="2",
    )
    (worker,) = app.processes
    assert (worker.user, worker.environment_files) == ("shop", ("/etc/default/web",))
    assert worker.environment == (("ONE", "1"), ("TWO", "two"), ("THREE", "3"))
    assert worker.service == (("CPUWeight", ("50",)), ("MemoryMax", ("2G",)))
    assert worker.pace.max_surge == app.pace.max_surge
    assert (worker.pace.hooks, worker.pace.pause_after, worker.instances) == (HookSettings(), (), 1)


def test_the_app_itself_may_come_last() -> None:
    app = parse(WORKER, after='["worker"]')
    assert (app.after, app.processes[0].after) == (("worker",), ())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[process.web]\nexec = ['a']", '"web" is what the keys outside [process] describe; choose another name'),
        ("[process.Worker]\nexec = ['a']", "cannot be the name of a process type; use lowercase letters"),
        ("[process.a-service]\n", ": process.a-service.exec: missing"),
        ("[process.service]\nexec = ['a']", "would be called web.service, but"),
        (f"[process.{'x' * 60}]\nexec = ['a']", "cannot be the name of an app; use up to 63 letters"),
        (f"{WORKER}after = ['db']", ':7: process.worker.after: there is no process type "db"; allowed are "web"'),
        (f"{WORKER}after = ['worker']", ":7: process.worker.after: worker comes after worker, so that none"),
        (f"{WORKER}after = ['clock']\n{CLOCK}after = ['worker']", "none of them could be the first; remove one"),
        (f"{WORKER}release = '/srv/other'", "unknown key in [process.worker]"),
        (f"{WORKER}deadline = '1min'", "unknown key in [process.worker]; it belongs in [rollout] of the app"),
        (f"{WORKER}min_ready = '1s'", "unknown key in [process.worker]; it belongs in [process.worker.gate]"),
        (f"{WORKER}schedule = 'daily'", "unknown key in [process.worker]"),
        ("[process]\nworker = 'bin/worker'", "must be a table, not a string; write it as [process.worker]"),
        (WORKER.replace("81", "80"), '"127.0.0.1:80" cannot be open together with the app web itself; change one'),
        (WORKER + CLOCK.replace("82", "81"), "cannot be open together with the process type worker; change one"),
        (f"{WORKER}environment = {{ DEPLOYD_X = '1' }}", "process.worker.environment.DEPLOYD_X: is reserved"),
    ],
)
def test_one_sentence_refuses_what_cannot_work(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


@pytest.mark.parametrize(("mine", "other"), [("shop", "shop.worker"), ("shop.worker", "shop")])
def test_no_app_has_the_name_of_a_process_type(tmp_path: Path, mine: str, other: str) -> None:
    for name in (mine, other):
        lines = "\n".join(f"{key} = {value}" for key, value in TOP.items())
        (tmp_path / f"{name}.toml").write_text(f"{lines}\n{WORKER if name == 'shop' else ''}")
    with pytest.raises(InvalidFile, match=r"because of .process.worker.") as caught:
        config.load(tmp_path / f"{mine}.toml")
    assert str(caught.value).startswith(f"{tmp_path}/{mine}.toml: its units would have the names of those of")
    (tmp_path / f"{other}.toml").unlink()
    assert config.load(tmp_path / f"{mine}.toml").name == mine


def test_changes_name_the_process_type() -> None:
    before, after = parse(WORKER), parse(f"{WORKER}instances = 2\n[process.worker.environment]\nKEY = 'x'\n{CLOCK}")
    found = {item.key: item for item in changes(before, after)}
    assert found["process.worker.instances"].after == 2
    assert found["process.worker.environment.KEY"].secret
    assert found["process.clock.exec"].before is None
    assert not any(item.key.endswith(".release") for item in found.values())


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from(["web", *"abcdef"])), max_size=6))
def test_every_accepted_order_has_a_first_one(order: dict[str, list[str]]) -> None:
    tables = (
        f"[process.{name}]\nexec = ['x']\nlisten = ['{number}']\nafter = {after}"
        for number, (name, after) in enumerate(order.items(), 1000)
    )
    try:
        app = parse("\n".join(tables))
    except InvalidFile:
        return
    passed = {"web"}
    while left := [item for item in app.processes if item.process not in passed]:
        ready = {item.process for item in left if passed.issuperset(item.after)}
        assert ready
        passed |= ready
