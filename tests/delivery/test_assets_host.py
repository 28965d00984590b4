"""[deploy] assets: a real nginx answers for assets of both generations in the middle of a rollout."""

from __future__ import annotations

import subprocess

from tests.docs.test_nginx_host import PLAIN, serve
from tests.host.archive import packed
from tests.host.begun import DEADLINE
from tests.host.stage import APP, Stage
from tests.load.client import Load

HOME = f"/srv/{APP}"


def archive(stage: Stage, version: str, **settings: str) -> str:
    path, asset = f"/srv/{version}.tar.gz", f"public/assets/app-{version}.js"
    stage.machine.path(path).write_bytes(packed(stage, version, files={asset: version, **settings}))
    return path


def asset(stage: Stage, version: str) -> str:
    url = f"http://127.0.0.1:{PLAIN}/assets/app-{version}.js"
    argv = ["curl", "-sS", "-o", "/dev/stdout", "-w", "%{http_code}", url]
    return stage.machine.run(argv, check=False).stdout


def test_assets_of_both_generations_are_served_during_a_rollout(own_stage: Stage) -> None:
    stage = own_stage
    stage.machine.run(["install", "-d", f"{HOME}/releases", f"{HOME}/shared"])
    table = {"assets": "public/assets", "keep": 1, "current": True}
    stage.configure(release=f"{HOME}/current", releases=f"{HOME}/releases", deploy=table, instances=2)
    first = archive(stage, "v1")
    assert stage.deployd("deploy", APP, first, "--id", "v1").returncode == 0
    serve(stage.machine, keepalive=False)
    assert (asset(stage, "v1"), asset(stage, "v2")[-3:]) == ("v1\n200", "404")
    second = archive(stage, "v2", barrier="/srv/barrier")
    loads = [stage.load(50, 2, "--port", str(PLAIN), "--path", path) for path in ("/", "/assets/app-v1.js")]
    pipe = subprocess.PIPE
    deploy = stage.machine.popen(["deployd", "deploy", APP, second, "--id", "v2"], stdout=pipe, stderr=pipe)
    stage.admit(3)
    stage.machine.wait_for(lambda: served(stage) == {"v1", "v2"}, timeout=DEADLINE, what="both to serve")
    assert (asset(stage, "v1"), asset(stage, "v2")) == ("v1\n200", "v2\n200")
    loads.append(stage.load(50, 2, "--port", str(PLAIN), "--path", "/assets/app-v2.js"))
    stage.admit()
    out, err = deploy.communicate(timeout=DEADLINE)
    assert deploy.returncode == 0, (out, err)
    for load in loads:
        none_failed(load)
    assert asset(stage, "v1") == "v1\n200", "its release is the one to roll back to"
    assert stage.deployd("deploy", APP, archive(stage, "v3"), "--id", "v3").returncode == 0
    assert [asset(stage, version)[-3:] for version in ("v1", "v2", "v3")] == ["404", "200", "200"]


def served(stage: Stage) -> set[str]:
    """Return the releases of which an instance is ready."""
    return {item["release"].rpartition("/")[2] for item in stage.status()["instances"] if item["ready"]}


def none_failed(load: Load) -> None:
    record = load.stop()
    assert record.requests
    assert not record.failed, (record.by_outcome(), record.failed[:5])
