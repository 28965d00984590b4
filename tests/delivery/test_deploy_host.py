"""deployd deploy: from an archive on standard input to a live release, without a failed request."""

from __future__ import annotations

import json

import pytest

from tests.attacks.service import allow
from tests.host.archive import packed
from tests.host.stage import APP, RELEASES, Stage


def test_an_archive_is_unpacked_rolled_out_and_linked(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    stage.machine.path("/srv/v2.tar.gz").write_bytes(packed(stage, "v2"))
    command = f"deployd deploy {APP} - --id v2 --current /srv/{APP}/current --json </srv/v2.tar.gz"
    with stage.load(rate=100, keepalive=2) as load:
        done = stage.machine.run(["sh", "-c", command])
        assert not load.stop().failed
    receipt = json.loads(done.stdout)
    assert (receipt["release"], receipt["result"], receipt["generation"], receipt["new"]) == (
        f"{RELEASES}/v2",
        "succeeded",
        2,
        True,
    )
    assert len(receipt["sha256"]) == 64
    assert stage.machine.run(["readlink", f"/srv/{APP}/current"]).stdout.strip() == f"{RELEASES}/v2"
    assert stage.status()["release"] == f"{RELEASES}/v2"
    again = stage.deployd("deploy", APP, "/srv/v2.tar.gz", "--id", "v2")
    assert (again.returncode, "is there already" in again.stderr) == (0, True), again
    assert len(stage.history()[0]["adopted"]) == 2


@pytest.mark.thorough
def test_a_bad_release_is_out_of_use_and_the_link_stays(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    stage.machine.path("/srv/bad.tar.gz").write_bytes(packed(stage, "bad", mode="crash"))
    done = stage.deployd("deploy", APP, "/srv/bad.tar.gz", "--id", "bad", "--current", f"/srv/{APP}/current", "--json")
    receipt = json.loads(done.stdout.splitlines()[0])
    assert (done.returncode, receipt["result"], receipt["generation"]) == (1, "rolled-back", 2)
    assert f"{RELEASES}/bad is not in use" in done.stderr
    assert not stage.machine.path(f"/srv/{APP}/current").is_symlink()
    stage.machine.path("/srv/evil.tar").write_bytes(b"x" * 5000)
    generations = len(stage.history())
    refused = stage.deployd("deploy", APP, "/srv/evil.tar")
    assert (refused.returncode, "the archive cannot be read" in refused.stderr) == (3, True)
    assert len(stage.history()) == generations
    names = sorted(path.name for path in stage.machine.path(RELEASES).iterdir())
    assert not [name for name in names if name.startswith(".")], names


def test_an_app_file_says_where_releases_go_what_they_share_and_how_many_stay(stage: Stage) -> None:
    """Also the first one, which needs no apply."""
    home = f"/srv/{APP}"
    current = f"{home}/current"
    stage.machine.run(["install", "-d", f"{home}/releases", f"{home}/shared"])
    table = {"shared": ["uploads"], "keep": 2, "current": True}
    stage.configure(release=current, releases=f"{home}/releases", deploy=table, instances=2, user="www-data")
    for number in range(1, 5):
        stage.machine.path(f"/srv/v{number}.tar.gz").write_bytes(packed(stage, f"v{number}"))
    missing = stage.deployd("deploy", APP, "/srv/v1.tar.gz")
    assert (missing.returncode, "install -d -o www-data /srv/demo/shared/uploads" in missing.stderr) == (3, True)
    stage.machine.run(["install", "-d", "-o", "www-data", f"{home}/shared/uploads"])
    for number in range(1, 5):
        done = stage.deployd("deploy", APP, f"/srv/v{number}.tar.gz", "--id", f"v{number}", "--json")
        assert done.returncode == 0, done
        receipt = json.loads(done.stdout)
        assert (receipt["id"], receipt["links"], receipt["current"]) == (f"v{number}", ["uploads"], current)
        assert receipt["pruned"] == ([f"{home}/releases/v{number - 2}"] if number > 2 else [])
        leads_to = stage.machine.run(["readlink", f"{home}/releases/v{number}/uploads"]).stdout
        assert leads_to == f"{home}/shared/uploads\n"
    assert stage.get()["version"] == "v4"
    names = sorted(path.name for path in stage.machine.path(f"{home}/releases").iterdir())
    assert names == ["v3", "v4"]
    assert stage.deployd("rollback", APP).returncode == 0
    assert stage.get()["version"] == "v3"
    applied = stage.deployd("apply", APP)
    assert "leads elsewhere" not in applied.stderr + applied.stdout


@pytest.mark.thorough
def test_a_user_who_may_roll_out_needs_no_other_right(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    stage.machine.run(["sh", "-c", "id alice || useradd --create-home alice"])
    stage.machine.run(["chown", "alice:", RELEASES])
    stage.machine.path("/srv/v2.tar.gz").write_bytes(packed(stage, "v2"))
    rule = (
        'polkit.addRule(function(action, subject) { if (action.id == "org.deployd1.rollout" && subject.user == "alice")'
        ' return "yes"; });'
    )
    allow(stage, rule)
    done = stage.machine.run(["sh", "-c", f"deployd deploy {APP} - </srv/v2.tar.gz"], user="alice", check=False)
    assert done.returncode == 0, done
    release = stage.status()["release"]
    assert stage.machine.run(["stat", "--format=%U", release]).stdout == "alice\n"
    assert stage.get()["version"] == "v2"


@pytest.mark.thorough
def test_a_full_disk_leaves_nothing(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    stage.machine.run(["install", "-d", "/srv/small"])
    stage.machine.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", "/srv/small"])
    stage.machine.path("/srv/v2.tar.gz").write_bytes(packed(stage, "v2", files={"large": "x" * 2_000_000}))
    done = stage.deployd("deploy", APP, "/srv/v2.tar.gz", "--releases", "/srv/small")
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True), done
    assert list(stage.machine.path("/srv/small").iterdir()) == []
    assert len(stage.history()) == 1
    stage.machine.run(["umount", "/srv/small"])
