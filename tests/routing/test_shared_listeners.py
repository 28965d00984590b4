"""The shared sockets of an app whose routing changes, as one more instance among those with sockets of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

from deployd.model.instance import Instance, State
from deployd.model.rollout import Phase, Rollout
from deployd.plan.routing import Candidate
from deployd.reuseport.steering import Steering
from deployd.routing.kernel import Kernel
from deployd.routing.listeners import SHARED, Listeners
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.shared_listeners import SharedListeners
from deployd.routing.snapshot import Snapshot
from deployd.sockdiag.inet_diag import Listener
from deployd.systemd.manager import Systemd
from tests.plan.worlds import app

INSTANCES = (
    Instance(1, 1, State.READY, started=1.0, ready_since=2.0),
    Instance(2, 1, State.READY, started=0.5, ready_since=3.0),
    Instance(3, 2, State.READY, started=0.7, ready_since=4.0),
    Instance(4, 3, State.READY, started=5.0, ready_since=6.0),
)
"""The first three accept from the shared socket, the last one has sockets of its own."""


def listener(cookie: int, port: int = 80) -> Listener:
    return Listener(100 + cookie, cookie, 2, "127.0.0.1", port, False, 0, 0, 0)


def shared(*, known: bool = True) -> SharedListeners:
    tcp: Any = create_autospec(Listeners, instance=True)
    tcp.known.return_value = known
    passed: Any = create_autospec(PassedSockets, instance=True)
    passed.shared.return_value = dict.fromkeys((1, 2, 3), frozenset({"demo.socket"}))
    systemd: Any = create_autospec(Systemd, instance=True)
    kernel: Any = create_autospec(Kernel, instance=True)
    return SharedListeners("demo", systemd, kernel, passed, tcp, Path("/"))


def test_one_candidate_stands_for_all_instances_with_shared_sockets() -> None:
    rolling = Snapshot(INSTANCES, app(), Rollout("demo", 2, 3))
    assert shared().candidates(INSTANCES, rolling) == [Candidate(SHARED, 2, 0.5, 2.0)]
    assert shared().candidates(INSTANCES[:1], rolling) == [Candidate(SHARED, 1, 1.0, 2.0)]
    back = Snapshot(INSTANCES, app(), Rollout("demo", 1, 3, phase=Phase.ROLLING_BACK))
    assert shared().candidates(INSTANCES, back) == [Candidate(SHARED, 1, 0.5, 2.0)], "the preferred generation"
    assert shared().candidates(INSTANCES[3:], rolling) == []
    assert shared(known=False).candidates(INSTANCES, rolling) == [], "none of the sockets is open"


def test_its_weight_is_shown_in_equal_parts() -> None:
    assert shared().spread({SHARED: 75.0, 4: 25.0}, INSTANCES) == {1: 25.0, 2: 25.0, 3: 25.0, 4: 25.0}
    assert shared().spread({4: 100.0}, INSTANCES[3:]) == {4: 100.0}
    assert [(item.number, item.generation) for item in shared().members(INSTANCES)] == [(SHARED, 2)]


def test_shared_listeners_join_where_an_instance_listens_too_and_stay() -> None:
    steering: Any = create_autospec(Steering, instance=True)
    steering.counters.return_value = {}
    steering.sync.return_value = frozenset()
    steering.fds = {}
    kernel: Any = create_autospec(Kernel, instance=True)
    kernel.steering.return_value = steering
    systemd: Any = create_autospec(Systemd, instance=True)
    found = Listeners("demo", systemd, kernel, create_autospec(PassedSockets, instance=True), Path("/"))
    here, elsewhere, own = listener(1), listener(2, port=81), listener(3)
    found.share("shared", [here, elsewhere])
    found.sync()
    assert steering.sync.call_args.args == ({SHARED: ()},), "alone it is no group"
    found._known[4] = "own", (own,)
    found._synced = False
    found.sync()
    assert steering.sync.call_args.args == ({SHARED: (here,), 4: (own,)},)
    found.drop(4)
    found.sync()
    assert steering.sync.call_args.args == ({SHARED: (here,)},), "its program and its place are kept"
    found.share("", [])
    found.sync()
    assert steering.sync.call_args.args == ({},)
