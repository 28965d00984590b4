"""The mirror of units and the jobs, with a manager on a private bus that provokes the awkward cases."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from deployd.bus import DBUS, Bus, BusError, MethodCall, Reply, variant
from deployd.errors import SystemdError
from deployd.systemd.manager import Systemd
from deployd.systemd.mirrored import OF_ACTIVE, SERVICE_PROPERTIES, UNIT_PROPERTIES
from deployd.systemd.proxy import MANAGER, NAME, PATH, PROPERTIES, SERVICE, UNIT, UnitRefused, unit_path
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus

DEMO = "demo@1.service"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


class Manager:
    """A fake systemd: `answers` are the replies of methods, `values` those of properties."""

    def __init__(self, bus: Bus, systemd: Systemd) -> None:
        self.bus = bus
        self.systemd = systemd
        self.calls: list[tuple[str, list[Any]]] = []
        self.answers: dict[str, Callable[[], Reply | Coroutine[Any, Any, Reply]]] = {}
        self.values: dict[str, Any] = {}
        self.reads: Counter[str] = Counter()
        """How many properties of each unit were read."""
        self.changes: asyncio.Queue[str] = asyncio.Queue()
        self.job_reads: asyncio.Queue[str] = asyncio.Queue()
        systemd.on_change(self.changes.put_nowait)

    async def serve(self, call: MethodCall) -> Reply:
        if call.interface == PROPERTIES:
            self.reads[call.path] += 1
            value = self.values.get(call.body[1], "")
            if call.body[1] == "Job":
                self.job_reads.put_nowait(call.path)
                return "v", [variant("(uo)", value or [0, "/"])]
            return "v", [variant("u" if isinstance(value, int) else "s", value)]
        self.calls.append((call.member, call.body))
        if call.member in self.answers:
            answer = self.answers[call.member]()
            return answer if isinstance(answer, tuple) else await answer
        return ("o", [f"{PATH}/job/1"]) if call.member in ("StartUnit", "StopUnit") else ("", [])

    def job_removed(self, number: int, result: str = "done") -> None:
        self.bus.emit(PATH, MANAGER, "JobRemoved", "uoss", [number, f"{PATH}/job/{number}", DEMO, result])

    def changed(self, interface: str, **values: str | int) -> None:
        wrapped = {name: ("u" if isinstance(value, int) else "s", value) for name, value in values.items()}
        self.bus.emit(unit_path(DEMO), PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, wrapped, []])

    def reloading(self, active: bool) -> None:
        self.bus.emit(PATH, MANAGER, "Reloading", "b", [active])


Test = Callable[[Manager, Systemd], Coroutine[Any, Any, None]]


@pytest.fixture
def against(address: str) -> Callable[[Test], None]:
    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[Manager]:
        async with connections(address, 2) as (server, client):
            made = Manager(server, Systemd(client, timeout=5, first_check=0.05))
            server.serve(made.serve)
            await server.request_name(NAME)
            await made.systemd.subscribe()
            yield made

    async def work(test: Test) -> None:
        async with manager() as made:
            await test(made, made.systemd)

    return lambda test: run(work(test))


def test_a_job_ends_with_its_result(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        job = await systemd.start(DEMO)
        assert ("StartUnit", [DEMO, "replace"]) in manager.calls
        manager.job_removed(2, "failed")
        manager.job_removed(1, "timeout")
        assert await job == "timeout"

    against(test)


def test_a_job_that_has_ended_is_removed_from_the_mirror(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        await systemd.watch(DEMO)
        manager.bus.emit(
            unit_path(DEMO),
            PROPERTIES,
            "PropertiesChanged",
            "sa{sv}as",
            [UNIT, {"ActiveState": ("s", "inactive"), "Job": ("(uo)", [1, f"{PATH}/job/1"])}, []],
        )
        job = await systemd.stop(DEMO)
        assert systemd.properties(DEMO)["Job"][0] == 1
        manager.job_removed(1)
        assert await job == "done"
        assert systemd.properties(DEMO)["Job"][0] == 0

    against(test)


def test_of_many_active_units_little_is_read(against: Callable[[Test], None]) -> None:
    def entry(unit: str, state: str, sub: str) -> list[Any]:
        return [unit, "", "loaded", state, sub, "", unit_path(unit), 0, "", "/"]

    async def test(manager: Manager, systemd: Systemd) -> None:
        units = [f"demo@{number}.service" for number in range(1, 61)]
        active, failed, absent = units[:58], units[58], units[59]
        manager.values = {"MainPID": 7, "ActiveState": "inactive", "Result": "success"}
        listed = [*(entry(unit, "active", "running") for unit in active), entry(failed, "failed", "failed")]

        def answer() -> Reply:
            manager.changed(UNIT, ActiveState="deactivating")  # what a signal says meanwhile is newer
            return "a(ssssssouso)", [listed]

        manager.answers["ListUnitsByPatterns"] = answer
        await systemd.watch_all(units)
        assert manager.calls.count(("ListUnitsByPatterns", [[], ["demo@*.service"]])) == 1
        assert {manager.reads[unit_path(unit)] for unit in active} == {len(OF_ACTIVE)}
        assert {manager.reads[unit_path(unit)] for unit in (failed, absent)} == {
            len(UNIT_PROPERTIES | SERVICE_PROPERTIES)
        }
        states = [systemd.properties(unit)["ActiveState"] for unit in (DEMO, *active[1:])]
        assert states == ["deactivating"] + 57 * ["active"]
        assert {systemd.properties(unit)["MainPID"] for unit in units} == {7}

    against(test)


def test_units_of_which_none_could_be_read_are_not_mirrored(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        async def refuse() -> Reply:
            raise BusError("org.example.Error", "no")

        manager.answers["ListUnitsByPatterns"] = refuse
        with pytest.raises(SystemdError):
            await systemd.watch_all([DEMO])
        assert systemd.properties(DEMO) == {}

    against(test)


def test_several_requests_share_a_job_and_its_result(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        # systemd merges a request into the job that is queued already.
        first, second = await systemd.stop(DEMO), await systemd.stop(DEMO)
        manager.job_removed(1, "done")
        results = await asyncio.wait_for(asyncio.gather(first, second), 5)
        assert list(results) == ["done", "done"]

    against(test)


def test_a_job_that_ends_before_its_reply_is_not_missed(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        def fast() -> Reply:
            manager.job_removed(1, "failed")
            return "o", [f"{PATH}/job/1"]

        manager.answers["StartUnit"] = fast
        assert await (await systemd.start(DEMO)) == "failed"

    against(test)


def listed(load: str, active: str, sub: str, job: int = 0) -> Reply:
    rows = [[DEMO, "an instance", load, active, sub, "", unit_path(DEMO), job, "", "/"]]
    return "a(ssssssouso)", [rows]


def test_jobs_survive_a_daemon_reload_and_missed_changes_are_read(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        manager.values |= {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "Job": [1, f"{PATH}/job/1"],
        }
        await systemd.watch(DEMO)
        job = await systemd.start(DEMO)
        manager.values |= {"LoadState": "masked"}
        manager.answers["ListUnitsByPatterns"] = lambda: listed("masked", "active", "running")
        for _ in range(3):
            manager.reloading(True)
            manager.reloading(False)
        assert await manager.changes.get() == DEMO
        assert systemd.properties(DEMO)["LoadState"] == "masked"
        assert [body for member, body in manager.calls if member == "ListUnitsByPatterns"] == [[[], ["demo@*.service"]]]
        assert not job.done()
        manager.job_removed(1)
        assert await job == "done"

    against(test)


def test_a_daemon_reload_without_changes_notifies_nobody(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        manager.values |= {"LoadState": "loaded", "ActiveState": "active", "SubState": "running"}
        await systemd.watch(DEMO)
        asked = asyncio.Event()

        def answer() -> Reply:
            asked.set()
            return listed("loaded", "active", "running", 7)

        manager.answers["ListUnitsByPatterns"] = answer
        manager.reloading(False)
        await asked.wait()
        await systemd.resubscribe()  # a round trip: whatever follows the list would have arrived
        assert manager.changes.empty()

    against(test)


def test_the_lost_end_of_a_job_is_noticed(against: Callable[[Test], None], caplog: pytest.LogCaptureFixture) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        manager.values |= {"ActiveState": "inactive", "Job": [1, f"{PATH}/job/1"]}
        await systemd.watch(DEMO)
        job = await systemd.start(DEMO)
        while not manager.job_reads.empty():
            manager.job_reads.get_nowait()
        for _ in range(2):
            assert await manager.job_reads.get() == unit_path(DEMO)
        assert not job.done()
        manager.values |= {"ActiveState": "active", "Job": [0, "/"]}
        assert await job == "unknown"
        assert systemd.properties(DEMO)["ActiveState"] == "active", "the change of state was lost too"
        assert await manager.changes.get() == DEMO

    against(test)
    assert "was lost" in caplog.text


def test_a_job_that_ends_in_time_is_not_checked(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        job = await systemd.start(DEMO)
        manager.job_removed(1)
        assert await job == "done"
        await asyncio.sleep(0.1)
        assert manager.job_reads.empty()

    against(test)


def test_a_new_owner_of_the_name_makes_jobs_unknown(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        job = await systemd.start(DEMO)
        await manager.bus.call(*DBUS, "ReleaseName", "s", [NAME])
        await manager.bus.request_name(NAME)
        assert await job == "unknown"
        assert await manager.changes.get() == "", "signals between its two connections are lost"

    against(test)


def test_the_mirror_follows_signals_and_reports_changes_only(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        manager.values |= {"ActiveState": "activating", "MainPID": 7}
        seen = await systemd.watch(DEMO)
        assert (seen["ActiveState"], seen["MainPID"]) == ("activating", 7)
        manager.changed(UNIT, ActiveState="activating", StateChangeTimestamp="of no interest")
        manager.changed(SERVICE, StatusText="of no interest")
        manager.changed(UNIT, ActiveState="active")
        assert await manager.changes.get() == DEMO
        assert systemd.properties(DEMO)["ActiveState"] == "active"
        assert systemd.properties(DEMO)["MainPID"] == 7
        assert manager.changes.empty()
        systemd.unwatch(DEMO)
        manager.changed(UNIT, ActiveState="failed")
        job = await systemd.start(DEMO)
        manager.job_removed(1)
        await job
        assert manager.changes.empty()
        assert systemd.properties(DEMO) == {}

    against(test)


def test_being_subscribed_already_is_no_error(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        def refuse(name: str) -> Callable[[], Reply]:
            def answer() -> Reply:
                raise BusError(name, "no")

            return answer

        manager.answers["Subscribe"] = refuse("org.freedesktop.systemd1.AlreadySubscribed")
        await systemd.resubscribe()
        manager.answers["Subscribe"] = refuse("org.freedesktop.DBus.Error.AccessDenied")
        with pytest.raises(SystemdError, match="systemd refused Subscribe: no"):
            await systemd.resubscribe()

    against(test)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("org.freedesktop.systemd1.UnitMasked", UnitRefused),
        ("org.freedesktop.systemd1.NoSuchUnit", UnitRefused),
        ("org.freedesktop.systemd1.ShuttingDown", SystemdError),
        ("org.freedesktop.DBus.Error.NoReply", SystemdError),
    ],
)
def test_permanent_errors_are_distinguished(
    against: Callable[[Test], None], name: str, kind: type[SystemdError]
) -> None:
    async def test(manager: Manager, systemd: Systemd) -> None:
        def refuse() -> Reply:
            raise BusError(name, "Unit demo@1.service is masked.")

        manager.answers["StartUnit"] = refuse
        with pytest.raises(SystemdError, match="is masked") as raised:
            await systemd.start(DEMO)
        assert type(raised.value) is kind
        manager.answers["ResetFailedUnit"] = refuse
        await systemd.reset_failed(DEMO)

    against(test)


def test_calls_have_a_deadline(against: Callable[[Test], None]) -> None:
    async def test(manager: Manager, _: Systemd) -> None:
        async def never() -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

        manager.answers["StartUnit"] = never
        hasty = Systemd(manager.systemd._bus, timeout=0.05)
        with pytest.raises(SystemdError, match="no reply within"):
            await hasty.start(DEMO)

    against(test)
