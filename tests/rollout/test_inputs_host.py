"""What a process starts with belongs to its generation: contents of environment files, program, release, settings."""

from __future__ import annotations

from tests.host.stage import APP, INSTANCES, Stage

FILE = "/etc/default/demo"


def values(stage: Stage, name: str = "DB") -> set[str | None]:
    """Return the values of a variable in the environments of all processes."""
    return {stage.process(number)[1].get(name) for number in stage.invocations()}


def test_an_environment_file_belongs_to_the_generation(stage: Stage) -> None:
    stage.machine.write(FILE, "DB=one\n")
    stage.deploy("v1", environment_files=[FILE])
    stage.machine.write(FILE, "DB=two\n")
    # A crash brings back the values of the generation.
    before = stage.pid(1)
    stage.kill(1)
    stage.machine.wait_for(lambda: stage.pid(1) not in (0, before))
    stage.machine.wait_unit(f"{APP}@1.service")
    assert values(stage) == {"one"}
    # The changed file is a change.
    ended = stage.change("apply")
    assert (ended.result, len(ended.finished["replaced"])) == ("succeeded", INSTANCES)
    assert values(stage) == {"two"}
    stage.machine.write(FILE, "DB=three\n")
    assert len(stage.change("restart").finished["replaced"]) == INSTANCES
    assert values(stage) == {"three"}
    done = stage.deployd("apply", APP)
    assert (done.returncode, done.stderr) == (0, "demo: nothing to do\n")
    stage.machine.run(["systemctl", "reload", APP])
    assert (len(stage.history()), {ran.generation for ran in stage.invocations().values()}) == (3, {3})
    # A rollout is recorded, but is not what a script that has changed something expects.
    done = stage.deployd("rollout", APP)
    assert (done.returncode, "no process was restarted" in done.stderr) == (6, True), done.stderr
    # A file that is gone is refused before anything changes, and a rollback does not need it.
    stage.machine.path(FILE).unlink()
    refused = stage.deployd("rollout", APP)
    assert (refused.returncode, f"{FILE} cannot be read" in refused.stderr) == (3, True), refused.stderr
    assert stage.change("rollback").result == "succeeded"
    assert values(stage) == {"two"}
    secret = stage.machine.run(["grep", "-r", "DB=t", "/var/lib/deployd"], user="nobody", check=False)
    assert secret.stdout == ""
