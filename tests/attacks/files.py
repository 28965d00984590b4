"""Attacks by files that the daemon, or PID 1 on its behalf, opens as root."""

from __future__ import annotations

import subprocess

from tests.host.stage import APP, PORT, RELEASES, Stage
from tests.sample_apps.release import app_file

USER = "www-data"
"""The user that runs the app and owns its releases."""
SECRET = "the-secret-of-root"
CLOSED = "/srv/closed"
"""A directory of root with mode 0700: a mark, an environment file and a release, all with the secret."""
SWAP = """
import os, sys
release, closed = sys.argv[1:]
for name, target in (('.deployd', closed), ('lib', closed + '/release')):
    os.symlink(target, f'{release}/{name}.link')
while True:
    for name in ('.deployd', 'lib'):
        for there in ('link', 'real'):
            path = f'{release}/{name}'
            os.rename(path, f'{path}.{"real" if there == "link" else "link"}')
            os.rename(f'{path}.{there}', path)
"""
IN_TIME = 20.0
"""Seconds for commands that must not block."""


def read_a_file_of_root_through_the_mark(stage: Stage) -> str:
    """The app's user makes .deployd a symlink into a directory of root, to see the first line of a file there."""
    target = _prepared(stage)
    _as_user(stage, f"ln -s {CLOSED} {target}/.deployd")
    said = _rolled_out(stage, target)
    _as_user(stage, f"rm {target}/.deployd && mkdir {target}/.deployd")
    _as_user(stage, f"ln -s {CLOSED}/irreversible {target}/.deployd/irreversible")
    return _shown(stage, said + _rolled_out(stage, target))


def swap_directories_while_they_are_read(stage: Stage) -> str:
    """The app's user swaps .deployd and a directory of the release for symlinks and back, without a pause."""
    target = _prepared(stage)
    _as_user(stage, f"mkdir -p {target}/.deployd {target}/lib && echo harmless >{target}/.deployd/irreversible")
    swapping = stage.machine.popen(["python3", "-c", SWAP, target, CLOSED], user=USER)
    said = ""
    try:
        for _ in range(3):
            for release in (target, f"{RELEASES}/v1"):  # the mark of a new release is read
                done = stage.deployd("rollout", APP, "--release", release)
                said += done.stdout + done.stderr
            said += stage.deployd("releases", APP).stdout
    finally:
        swapping.kill()
        swapping.wait()
    return _shown(stage, said)


def keep_the_daemon_waiting_for_a_fifo(stage: Stage) -> str:
    """The app's user puts FIFOs wherever the daemon reads: the mark, a program, an app file behind a symlink."""
    target = _prepared(stage)
    _as_user(stage, f"mkdir {target}/.deployd && mkfifo {target}/.deployd/irreversible {target}/program")
    stage.machine.run(["ln", "-s", f"{RELEASES}/linked.toml", "/etc/deployd/apps/linked.toml"])
    _as_user(stage, f"mkfifo {RELEASES}/linked.toml")
    try:
        for argv in (["rollout", APP, "--release", target], ["check"], ["apply", "linked"], ["status"]):
            stage.deployd(*argv, timeout=IN_TIME)
        stage.machine.run(["systemctl", "restart", "deployd"], timeout=IN_TIME)
        answered = stage.deployd("status", APP, timeout=IN_TIME)
    except subprocess.TimeoutExpired as late:
        return f"{' '.join(map(str, late.cmd[-3:]))} got no reply"
    return "" if answered.returncode == 0 else f"status: {answered.stderr.strip()}"


def become_root_by_writing_an_app_file(stage: Stage) -> str:
    """The app's user owns the directory of an app file to which root links, and puts a hook in it that runs as root."""
    _prepared(stage)
    _write_as_user(stage, f"{RELEASES}/mine.toml", _as_root(stage))
    stage.machine.run(["ln", "-s", f"{RELEASES}/mine.toml", "/etc/deployd/apps/mine.toml"])
    stage.deployd("apply", "mine", timeout=IN_TIME)
    stage.machine.run(["ln", "-sf", f"{RELEASES}/../{APP}/mine.toml", "/etc/deployd/apps/mine.toml"])
    stage.deployd("apply", "mine", timeout=IN_TIME)
    return "a command of the user ran as root" if stage.machine.path("/srv/taken").exists() else ""


def become_root_by_replacing_an_app_file(stage: Stage) -> str:
    """The user puts an app file into directories that it may write: sticky, by group, or its own."""
    _prepared(stage)
    achieved = []
    for way, owner, mode in (
        ("/srv/sticky", "root:root", "1777"),
        ("/srv/group", f"root:{USER}", "775"),
        ("/srv/owned", f"{USER}:root", "755"),
    ):
        stage.machine.run(["mkdir", "-p", way])
        stage.machine.run(["chown", owner, way])
        stage.machine.run(["chmod", mode, way])
        _write_as_user(stage, f"{way}/mine.toml", _as_root(stage))
        stage.machine.run(["ln", "-sfn", f"{way}/mine.toml", "/etc/deployd/apps/mine.toml"])
        stage.deployd("apply", "mine", timeout=IN_TIME)
        if stage.machine.path("/srv/taken").exists():
            achieved.append(f"a command ran as root from {way}")
            stage.machine.path("/srv/taken").unlink()
    return "; ".join(achieved)


def list_a_directory_of_root_as_a_release(stage: Stage) -> str:
    """The app's user swaps a release for a symlink into a directory of root, to learn what has changed there."""
    target = _prepared(stage)
    _rolled_out(stage, target)
    stage.rollout(stage.release("v3"))
    _as_user(stage, f"mv {target} {target}.old && ln -s {CLOSED}/release {target}")
    stage.machine.run(["touch", f"{CLOSED}/release/{SECRET}.py"])
    said = [stage.deployd(*argv, user=USER) for argv in (["releases", APP], ["plan", APP, "--release", target])]
    said.append(stage.deployd("rollback", APP, "--to", "2"))
    return _shown(stage, "".join(done.stdout + done.stderr for done in said))


def ask_what_lies_in_a_closed_directory(stage: Stage) -> str:
    """The app's user makes symlinks into a directory of root, to learn whether their targets exist."""
    target = _prepared(stage)
    stage.configure(release=f"{RELEASES}/current")
    answers = []
    for name in ("release", "nothing"):
        link = f"ln -sfn {CLOSED}/{name}"
        _as_user(stage, f"{link} {RELEASES}/current && {link} {target}/lib")
        answers.append(_asked(stage, "check", APP) + _asked(stage, "plan", APP))
    stage.configure(release=target, exec=["bin/program"])
    for name in ("release/program", "nothing"):
        _as_user(stage, f"mkdir -p {target}/bin && ln -sfn {CLOSED}/{name} {target}/bin/program")
        answers.append(_asked(stage, "check", APP) + _asked(stage, "plan", APP))
    there, not_there, program, no_program = (answer.replace("nothing", "X") for answer in answers)
    achieved = [
        what
        for what, one, other in (
            ("whether a directory exists", there.replace("closed/release", "closed/X"), not_there),
            ("whether a program exists", program.replace("closed/release/program", "closed/X"), no_program),
        )
        if one != other
    ]
    return f"learned {' and '.join(achieved)}" if achieved else ""


def stop_systemd_with_an_environment_file(stage: Stage) -> str:
    """The app's user puts a FIFO, then a symlink, in place of an environment file, which PID 1 reads as root."""
    _prepared(stage)
    directory = f"{RELEASES}/shared"
    _as_user(stage, f"mkdir {directory} && mkfifo {directory}/env")
    achieved = []
    for name in ("env", "link"):
        _as_user(stage, f"ln -s {CLOSED}/env {directory}/link" if name == "link" else "true")
        stage.configure(environment_files=[f"{directory}/{name}"])
        try:
            stage.deployd("apply", APP, timeout=IN_TIME)
            stage.machine.run(["systemctl", "show", "--property=Version"], timeout=IN_TIME)
        except subprocess.TimeoutExpired:
            return "PID 1 is blocked"
        if SECRET in "".join(stage.process(1)[1].values()):
            achieved.append("a file of root is in the environment of the app")
    return "; ".join(achieved)


def silence_the_releases(stage: Stage) -> str:
    """The app's user makes directories next to the releases with names that are not UTF-8 or control a terminal."""
    _prepared(stage)
    _as_user(stage, f"cd {RELEASES} && mkdir $'v\\xe9' $'v\\e[2J' $'v\\n9' && ln -sfn $'v\\xe9' odd")
    for argv in (["releases", APP], ["check"], ["plan", APP, "--release", f"{RELEASES}/odd"], ["status"]):
        try:
            done = stage.deployd(*argv, user="nobody", timeout=IN_TIME)
        except subprocess.TimeoutExpired:
            return f"deployd {argv[0]} got no reply"
        said = done.stdout + done.stderr
        if "\x1b" in said or "Traceback" in said or "internal error" in said:
            return f"deployd {argv[0]} printed {said!r}"
    answer = stage.json("releases", APP)
    names = {item["release"].removeprefix(f"{RELEASES}/") for item in answer["releases"]}
    return "" if {r"v\xe9", r"v\x1b[2J", r"v\n9"} <= names else f"releases are left out: {names}"


def keep_the_daemon_busy_with_a_tree(stage: Stage) -> str:
    """The app's user makes a release deeper than the longest path, with special files in it."""
    target = _prepared(stage)
    deep = "import os\nfor _ in range(100):\n os.mkdir('d' * 200)\n os.chdir('d' * 200)\nos.mkfifo('f')"
    stage.machine.run(["python3", "-c", f"import os\nos.chdir({target!r})\n{deep}"], user=USER)
    try:
        done = stage.deployd("rollout", APP, "--release", target, timeout=IN_TIME)
    except subprocess.TimeoutExpired:
        return "the rollout of the tree got no reply"
    finally:
        stage.machine.run(["rm", "-rf", f"{target}/{'d' * 200}"])
    return "" if done.returncode == 0 else f"the rollout failed: {done.stderr.strip()}"


ATTACKS = (
    read_a_file_of_root_through_the_mark,
    swap_directories_while_they_are_read,
    keep_the_daemon_waiting_for_a_fifo,
    become_root_by_writing_an_app_file,
    become_root_by_replacing_an_app_file,
    list_a_directory_of_root_as_a_release,
    ask_what_lies_in_a_closed_directory,
    stop_systemd_with_an_environment_file,
    silence_the_releases,
    keep_the_daemon_busy_with_a_tree,
)


def _prepared(stage: Stage) -> str:
    """Deploy `demo` as USER, which owns its releases; make a secret of root; return the release for the attack."""
    machine = stage.machine
    for name in ("irreversible", "env", f"release/{SECRET}.py", "release/program"):
        machine.write(f"{CLOSED}/{name}", f"SECRET={SECRET}\n", 0o755)
    machine.run(["chmod", "700", CLOSED])
    stage.deploy("v1", user=USER)
    target = stage.release("v2")
    machine.run(["chown", "-R", f"{USER}:{USER}", RELEASES])
    return target


def _as_user(stage: Stage, script: str) -> None:
    stage.machine.run(["bash", "-c", script], user=USER)


def _write_as_user(stage: Stage, path: str, text: str) -> None:
    stage.machine.run(["sh", "-c", f"cat >{path}"], user=USER, input=text)


def _as_root(stage: Stage) -> str:
    """Return an app file whose hook runs as root."""
    hooks = {"hooks": {"before": [["/usr/bin/touch", "/srv/taken"]]}}
    return app_file("mine", stage.release("v1"), PORT + 1, instances=1, rollout=hooks)


def _rolled_out(stage: Stage, target: str) -> str:
    ended = stage.rollout(target)
    return ended.stderr + str(ended.events)


def _asked(stage: Stage, *argv: str) -> str:
    done = stage.deployd(*argv, user=USER)
    assert done.returncode in (0, 1, 3), done
    return f"{done.returncode} {done.stdout} {done.stderr}"


def _shown(stage: Stage, said: str) -> str:
    """Return an achievement if the secret is in `said` or in anything else that users can read."""
    for verb in ("status", "history", "releases", "check"):
        done = stage.deployd(verb, APP, "--json", user=USER)
        said += done.stdout + done.stderr
    return "the secret is shown" if SECRET in said else ""
