"""What must hold after each move of the model, and before each write to its etcd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployd_cli.fleet import keys
from deployd_cli.fleet.goal import Goal
from deployd_cli.fleet.record import Failure, HostRecord, Progress, Slot
from deployd_cli.fleet.transaction import Put, Transaction
from deployd_cli.fleet.view import rolling
from tests.fleet.model_host import Host
from tests.fleet.store import Store


@dataclass(slots=True)
class Invariants:
    goals: dict[int, Goal] = field(default_factory=dict)
    """By token."""
    excused: set[tuple[str, int]] = field(default_factory=set)
    """Hosts whose slots were released, with the token: of these nothing is promised."""

    def before(self, store: Store, transaction: Transaction) -> None:
        """Check a transaction that is about to be applied."""
        for item in transaction.writes:
            if not isinstance(item, Put):
                continue
            if item.key == keys.GOAL:
                self.goals[store.revision + 1] = Goal.parse(item.value)
            elif item.key == keys.PROGRESS:
                self._opens(store, Progress.parse(item.value, item.key))
            elif item.key.startswith(keys.SLOTS):
                self._takes(store, item.key.removeprefix(keys.SLOTS), Slot.parse(item.value, item.key))
            elif item.key.startswith(keys.HOSTS):
                known, new = store.keys.get(item.key), HostRecord.parse(item.value, item.key)
                older = known is not None and known.value is not None
                assert not older or HostRecord.parse(str(known and known.value), "").token <= new.token
            elif item.key.startswith(keys.FAILURES) and Failure.parse(item.value, item.key).excused:
                host = item.key.removeprefix(keys.FAILURES)
                self.excused.add((host, Failure.parse(item.value, item.key).token))

    def _opens(self, store: Store, new: Progress) -> None:
        view = store.everything()
        assert new.token == view.token, "a batch of another goal was opened"
        assert new.batch == view.open_batch + 1, "a batch was opened twice, or one was left out"
        assert not view.paused, "a batch was opened in a fleet that is paused"
        assert not view.halted, "a batch was opened in a fleet that is halted"
        moving = [host for host in view.slots if rolling(view, host) and (host, new.token) not in self.excused]
        failed = [
            item for item in view.hosts.values() if item.value.token == new.token and item.value.result == "failed"
        ]
        allowed = self.goals[new.token].max_failures + sum(1 for _, token in self.excused if token == new.token)
        assert len(failed) <= allowed, "a batch was opened although too many hosts have failed"
        assert not moving, f"a batch was opened while {moving} roll"

    def _takes(self, store: Store, host: str, slot: Slot) -> None:
        view = store.everything()
        known = view.slots.get(host)
        if known is not None and known.value.token == slot.token and rolling(view, host):
            return  # it is the host's already
        assert slot.token == view.token, "a slot was taken for a goal that is not the newest"
        assert not view.paused, "a slot was taken in a fleet that is paused"
        assert not view.halted, "a slot was taken in a fleet that is halted"
        batch = self.goals[slot.token].batch_of(host)
        assert batch is not None
        assert batch <= view.open_batch, "a slot was taken in a batch that is not open"
        assert not rolling(view, host), "a host that rolls has taken another slot"

    def check(self, store: Store, hosts: Mapping[str, Host]) -> None:
        """Check that hosts of at most one batch roll, and that each of them has its slot."""
        batches: set[tuple[int, int | None]] = set()
        slots = {
            key.removeprefix(keys.SLOTS): Slot.parse(str(item.value), key)
            for key, item in store.keys.items()
            if key.startswith(keys.SLOTS)
        }
        for name, host in hosts.items():
            rollout = host.daemon.rolling
            if rollout is None or (name, rollout.token) in self.excused:
                continue
            slot = slots.get(name)
            assert slot is not None, f"{name} rolls without a slot"
            assert slot.token == rollout.token, f"{name} rolls without a slot for this goal"
            batches.add((rollout.token, self.goals[rollout.token].batch_of(name)))
        assert len(batches) <= 1, f"hosts of two batches roll: {sorted(batches, key=str)}"
