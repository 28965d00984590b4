"""Memory: what an instance holds, what is available, and the kernel's report that it runs short."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from deployd.plan.surge import Pool
from deployd.systemd import memory
from deployd.systemd.memory import Pressure


def test_memory_is_read_from_the_cgroup_or_from_its_processes(tmp_path: Path) -> None:
    proc, v1, v2 = tmp_path / "proc", tmp_path / "hybrid", tmp_path / "unified"
    group = "/system.slice/a b.service"
    for directory in (v1, v2 / group.lstrip("/") / "below", proc / "11", proc / "12"):
        directory.mkdir(parents=True)
    (v2 / group.lstrip("/") / "cgroup.procs").write_text("11\n")
    (v2 / group.lstrip("/") / "below/cgroup.procs").write_text("12\n13\n")
    (proc / "11/statm").write_text("900 100 1 1 0 1 0\n")
    (proc / "12/statm").write_text("900 50 1 1 0 1 0\n")
    found = memory.of_cgroup(group, (v1, v2), proc)
    assert found is not None
    assert found % 150 == 0
    assert found // 150 in (4096, 16384, 65536)
    (v2 / group.lstrip("/") / "memory.current").write_text("12345\n")
    assert memory.of_cgroup(group, (v1, v2), proc) == 12345
    assert memory.of_cgroup("/gone", (v1, v2), proc) is None
    assert memory.of_cgroup("", (v1, v2), proc) is None


def test_available_memory(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    assert memory.available(file) is None
    file.write_text("MemTotal:  100 kB\nMemAvailable:      64 kB\n")
    assert memory.available(file) == 65536
    file.write_text("MemAvailable:\n")
    assert memory.available(file) is None
    assert (memory.available() or 1) > 0


def test_what_another_instance_needs_is_without_page_cache(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    group = root / "shop.slice/shop@1.service"
    for directory in (group, proc / "11", proc / "12"):
        directory.mkdir(parents=True)
    (group / "cgroup.procs").write_text("11\n12\n13\n")
    (proc / "11/statm").write_text("900 100 70 1 0 1 0\n")
    (proc / "12/statm").write_text("900 50 50 1 0 1 0\n")
    found = memory.demand("/shop.slice/shop@1.service", (root,), proc)
    assert found is not None
    assert found // 30 in (4096, 16384, 65536)
    (group / "memory.current").write_text("1000\n")
    assert memory.demand("/shop.slice/shop@1.service", (root,), proc) == 1000
    (group / "memory.stat").write_text("anon 500\nfile 400\nshmem 100\n")
    assert memory.demand("/shop.slice/shop@1.service", (root,), proc) == 700
    assert memory.demand("/gone", (root,), proc) is None
    assert memory.demand("/", (root,), proc) is None


def test_memory_is_shared_by_the_machine_and_by_each_slice_with_a_limit(tmp_path: Path) -> None:
    root, meminfo = tmp_path / "cgroup", tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemAvailable:      64 kB\nHugePages_Total:       0\n")
    machine = Pool(102400, 65536)
    outer, inner = root / "web.slice", root / "web.slice/web-shop.slice"
    (inner / "shop@1.service").mkdir(parents=True)
    for directory, limits in ((outer, ("max", "900")), (inner, ("500", "600"))):
        (directory / "memory.current").write_text("700\n")
        (directory / "memory.stat").write_text("file 250\nshmem 0\n")
        for name, limit in zip(("max", "high"), limits, strict=True):
            (directory / f"memory.{name}").write_text(f"{limit}\n")
    group = "/web.slice/web-shop.slice/shop@1.service"
    (inner / "shop@1.service/memory.max").write_text("5\n")  # its own limit is no pool
    assert memory.pools(group, (root,), meminfo) == (machine, Pool(500, 50), Pool(900, 450))
    (inner / "memory.stat").unlink()
    assert memory.pools(group, (root,), meminfo)[1] == Pool(500, 0)
    assert memory.pools("", (root,), meminfo) == (machine,)
    assert memory.pools(group, (tmp_path / "v1",), tmp_path / "nothing") == ()


class Trigger:
    """A file that polls POLLPRI on demand: a TCP connection with an urgent byte in it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.near = socket.create_connection(server.getsockname())
            self.far, _ = server.accept()

    def __call__(self) -> int:
        return self.near.detach()

    def fire(self) -> None:
        self.far.send(b"!", socket.MSG_OOB)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def test_pressure_is_reported_through_the_loop() -> None:
    async def test() -> None:
        trigger, reported = Trigger(), asyncio.Event()
        pressure = Pressure(reported.set, trigger)
        pressure.open()
        pressure.open()
        trigger.fire()
        await asyncio.wait_for(reported.wait(), 10)
        pressure.close()
        pressure.close()
        trigger.close()

    asyncio.run(test())


def test_a_kernel_without_pressure_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Pressure(lambda: None, lambda: memory.trigger(tmp_path / "none")).open()
