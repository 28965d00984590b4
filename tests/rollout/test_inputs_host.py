"""What a process starts with belongs to its generation: contents of environment files, program, release, settings."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, INSTANCES, Stage

FILE = "/etc/default/demo"
SECRET, SEALED = "/etc/demo.secret", "/etc/demo.sealed"


def values(stage: Stage, name: str = "DB") -> set[str | None]:
    """Return the values of a variable in the environments of all processes."""
    return {stage.process(number)[1].get(name) for number in stage.invocations()}


def test_an_environment_file_belongs_to_the_generation(stage: Stage) -> None:
    stage.machine.write(FILE, "DB=one\n")
    hooks = {"before": [["/bin/sh", "-c", '[ -n "$DB" ]']]}
    stage.deploy("v1", environment_files=[FILE], rollout={"hooks": hooks})
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
    assert (done.returncode, done.stderr.startswith("demo: nothing to do")) == (0, True), done.stderr
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


@pytest.mark.thorough
def test_a_credential_belongs_to_the_generation(stage: Stage) -> None:
    def secrets() -> set[str]:
        directories = [f"/run/credentials/{APP}@{number}.service" for number in stage.invocations()]
        return {stage.machine.run(["cat", f"{path}/secret", f"{path}/sealed"]).stdout for path in directories}

    # Hooks get it as well.
    hooks = {"before": [["/bin/sh", "-c", 'grep -q secret "$CREDENTIALS_DIRECTORY/secret"']]}
    service = {"LoadCredential": f"secret:{SECRET}", "LoadCredentialEncrypted": f"sealed:{SEALED}"}
    encrypt = f"printf ' and sealed' | systemd-creds encrypt --with-key=host --name=sealed - {SEALED}"
    stage.machine.run(["/bin/sh", "-c", encrypt])
    stage.configure(release=stage.release("v1"), instances=2, service=service, rollout={"hooks": hooks})
    refused = stage.deployd("check", APP)
    assert (refused.returncode, f"{SECRET} does not exist; create it" in refused.stderr) == (3, True), refused.stderr
    stage.machine.write(SECRET, "secret one")
    assert stage.change("apply").result == "succeeded"
    assert stage.deployd("units", APP, "--diff").stdout == ""
    stage.machine.write(SECRET, "secret two")
    # A crash brings back what the generation has.
    before = stage.pid(1)
    stage.kill(1)
    stage.machine.wait_for(lambda: stage.pid(1) not in (0, before))
    stage.machine.wait_unit(f"{APP}@1.service")
    assert secrets() == {"secret one and sealed"}
    # The changed file is a change.
    assert [item["action"] for item in stage.json("plan", APP)["actions"]].count("start") == 2
    assert len(stage.change("apply").finished["replaced"]) == 2
    assert secrets() == {"secret two and sealed"}
    done = stage.deployd("apply", APP)
    assert (done.returncode, done.stderr.startswith("demo: nothing to do")) == (0, True), done.stderr
    # One that is refused leaves nothing.
    stage.machine.write(SECRET, "wrong")
    assert stage.deployd("apply", APP).returncode == 3
    # A rollback does not need the file.
    stage.machine.path(SECRET).unlink()
    assert stage.change("rollback").result == "succeeded"
    assert secrets() == {"secret one and sealed"}
    # Nothing that others can read has the contents, and nothing else than the copies has them.
    places = ["/var/lib/deployd", "/etc/systemd", "/run/systemd"]
    found = stage.machine.run(
        ["grep", "-rlE", "secret (one|two)|^wrong$|and sealed", *places], check=False
    ).stdout.split()
    assert {path.rpartition("/")[0] for path in found} == {f"/var/lib/deployd/apps/{APP}/credentials"}, found
    assert len(found) == 2
    assert stage.machine.run(["cat", *found], user="nobody", check=False).stdout == ""


@pytest.mark.thorough
def test_a_release_that_is_replaced_during_its_rollout_is_rolled_back(stage: Stage) -> None:
    stage.deploy("v1", user="www-data")
    v2 = stage.release("v2", barrier=True)
    with stage.begin("rollout", "--release", v2) as begun:
        begun.until("instance", state="starting")
        stage.machine.write(f"{v2}/VERSION", "v3 by rsync\n")
        stage.admit()
        ended = begun.end()
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert f"the release {v2} has changed since generation 2 began: VERSION was changed on" in ended.reason
    assert {ran.generation for ran in stage.invocations().values()} == {1}


@pytest.mark.thorough
def test_a_rollback_brings_everything_back(stage: Stage) -> None:
    """Release, program, environment, contents of files, settings and instances; code of the app's user counts."""

    def starts(version: str) -> dict[str, object]:
        stage.release(version, files={"lib/library.py": f"VERSION = 'library of {version}'"})
        stage.machine.run(["chown", "-R", "www-data:", f"/srv/{APP}/{version}"])
        stage.machine.run(["ln", "-sfn", version, f"/srv/{APP}/current"])
        stage.machine.write(FILE, f"DB={version}\n")
        python = ["/usr/bin/python3", "-u"] if version == "v2" else ["/usr/bin/python3"]
        instances = int(version[1:]) + 1
        return {"exec": [*python, "app.py"], "environment": {"WORD": version}, "instances": instances}

    def running() -> tuple[set[tuple[object, ...]], int]:
        numbers = list(stage.invocations())
        found = [(*stage.process(number), stage.show(f"{APP}@{number}.service", "MemoryMax")) for number in numbers]
        names = ("WORD", "DB", "DEPLOYD_RELEASE")
        return {(*argv[1:], *(env[name] for name in names), shown["MemoryMax"]) for argv, env, shown in found}, len(
            numbers
        )

    shared = {"release": f"/srv/{APP}/current", "user": "www-data", "environment_files": [FILE]}
    stage.configure(**shared, **starts("v1"), service={"MemoryMax": 1 << 28})
    assert stage.change("apply").result == "succeeded"
    before = running()
    stage.configure(**starts("v2"), service={"MemoryMax": 1 << 29})
    assert len(stage.change("rollout").finished["replaced"]) == before[1]
    assert not running()[0] & before[0]
    # A deploy in place by the app's own user is rolled out.
    stage.machine.run(["touch", f"/srv/{APP}/v2/lib/library.py"], user="www-data")
    assert len(stage.change("rollout").finished["replaced"]) == 3
    assert stage.change("rollback", "--to", "1").result == "succeeded"
    assert running() == before
    # A program that is reached through the link would not have come back.
    stage.configure(exec=[f"/srv/{APP}/current/app.py"])
    stage.machine.run(["chmod", "+x", f"/srv/{APP}/v2/app.py"])
    refused = stage.deployd("check", APP)
    assert (refused.returncode, 'write "app.py"' in refused.stderr) == (3, True), refused.stderr
