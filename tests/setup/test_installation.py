"""deployd setup below a directory: what it writes, updates and removes. A host runs all of it (tests/packaging)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from deployd.errors import DeploydError, Refused
from deployd.model.scope import SYSTEM, of_user
from deployd_cli.setup import installation, places, record, requirements, services, sources
from deployd_cli.setup.executor import Executor
from deployd_cli.setup.installation import Outcome
from deployd_cli.setup.plan import Action
from deployd_cli.text.setup import document, installed_lines, notes, removed_lines

SCOPE = places.system()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[services.Command]:
    """The commands that would have run."""
    ran: list[services.Command] = []

    def run(given: Iterable[services.Command]) -> None:
        ran.extend(given)

    monkeypatch.setattr(services, "run", run)
    monkeypatch.setattr(services, "booted", lambda: True)
    for name in ("require_modules", "require_trusted", "require_unowned"):
        monkeypatch.setattr(requirements, name, lambda *_: None)
    return ran


@pytest.fixture
def executor(tmp_path: Path, commands: list[services.Command]) -> Executor:
    return Executor(tmp_path)


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_first_run_installs_and_a_second_changes_nothing(
    executor: Executor, commands: list[services.Command]
) -> None:
    first = installation.install(SCOPE, executor)
    written = first.files(Action.CREATE)
    assert {"/usr/bin/deployd", "/usr/lib/systemd/system/deployd.service"} < set(written)
    assert commands[-1] == ("systemctl", "--quiet", "enable", "--now", "deployd.service")
    assert executor.path("/etc/deployd/apps").is_dir()
    second = installation.install(SCOPE, executor)
    assert second.files(Action.KEEP) == written == second.files(*Action)
    assert not second.first


def test_what_is_gone_from_the_list_is_removed(executor: Executor) -> None:
    installation.install(SCOPE, executor)
    kept = executor.path(SCOPE.record)
    known = record.load(kept)
    assert known is not None
    old = executor.path("/usr/share/deployd/old")
    old.touch()
    record.save(kept, record.Record("0.0.1", (*known.files, "/usr/share/deployd/old"), known.directories))
    executor.path("/usr/bin/deployd").write_text("older")
    done = installation.install(SCOPE, executor)
    assert (done.files(Action.UPDATE), done.files(Action.REMOVE)) == (
        ("/usr/bin/deployd",),
        ("/usr/share/deployd/old",),
    )
    assert not old.exists()
    assert "1 file written, 1 file removed; deployd.service is restarted if it was running" in installed_lines(done)


def test_a_removal_leaves_what_was_there_before(executor: Executor, tmp_path: Path) -> None:
    (tmp_path / "usr/share/man/man1").mkdir(parents=True)
    before = tree(tmp_path)
    installation.install(SCOPE, executor)
    done = installation.remove(SCOPE, executor, purge=False)
    assert tree(tmp_path) == before
    assert "apps, which keep running" in removed_lines(done, SYSTEM, purge=False)[-1]
    with pytest.raises(Refused, match="nothing to remove"):
        installation.remove(SCOPE, executor, purge=False)


def test_a_removal_leaves_app_files_and_history(executor: Executor, commands: list[services.Command]) -> None:
    installation.install(SCOPE, executor)
    for left in ("/etc/deployd/apps/shop.toml", "/var/lib/deployd/history.sqlite"):
        executor.path(left).touch()
    installation.remove(SCOPE, executor, purge=True)
    assert executor.path("/etc/deployd/apps/shop.toml").exists()
    assert commands[-1][0] == "sh"
    assert commands[-1][-1] == "purge"
    assert Path(commands[-1][1]).is_file(), "the script of the .deb, which removes the history"


def test_an_interrupted_run_is_completed(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_commands: Iterable[services.Command]) -> None:
        raise DeploydError("systemctl failed")

    with monkeypatch.context() as patch:
        patch.setattr(services, "run", fail)
        with pytest.raises(DeploydError):
            installation.install(SCOPE, executor)
    done = installation.install(SCOPE, executor)
    assert done.first, "it was not enabled yet"
    assert done.files(*Action) == done.files(Action.KEEP)


def test_a_deployd_of_a_package_has_nothing_to_install(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHIPPED", (Path("/no/such"),))
    with pytest.raises(Refused, match=r"^the package that has installed this deployd"):
        installation.install(SCOPE, executor)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": "", "files": ["x"], "directories": []}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "setup.json"
    path.write_text(text)
    with pytest.raises(DeploydError, match=rf"^{path} is damaged; remove it"):
        record.load(path)


def test_what_does_not_work_is_said() -> None:
    done = Outcome((), missing=("deployd.1",), hidden=Path("/root"))
    manual, command = notes(done)
    assert manual == "no manual page deployd.1: install go-md2man, then run deployd setup again"
    assert command.startswith("only root can use this deployd, because others cannot enter /root; ")
    assert document(done)["notes"] == [manual, command]


def test_of_a_user_it_writes_below_the_home_directory_only(
    tmp_path: Path, commands: list[services.Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "lingers", lambda _: False)
    scope = of_user(1000, "/people/dora", {})
    executor = Executor(tmp_path)
    done = installation.install(places.of_user(scope), executor)
    assert all(path.is_relative_to("/people/dora") for path in map(Path, done.files(*Action)))
    unit = executor.path("/people/dora/.local/share/systemd/user/deployd.service").read_text()
    command = "/people/dora/.local/share/deployd/bin/deployd"
    assert f"ExecStart={command} --user daemon" in unit
    assert f"Environment=DEPLOYD_COMMAND={command}" in unit
    assert commands[-1] == ("systemctl", "--user", "--quiet", "enable", "--now", "deployd.service")
    assert all("--user" in command for command in commands)
    assert any("enable-linger" in line for line in notes(done))
    left = removed_lines(installation.remove(places.of_user(scope), executor, purge=False), scope, purge=False)
    assert "left: app files in /people/dora/.config/deployd, the history in /people/dora/.local/state" in left[-1]
    assert tree(tmp_path) == set()
