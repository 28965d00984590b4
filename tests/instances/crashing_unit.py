"""An instance that crashes again and again, and what deployd does about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deployd.model.crashes import Crashes
from deployd.model.instance import Instance, State
from deployd.plan.backoff import Judgement, Patience, Step, judge

PATIENCE = Patience()


@dataclass
class Unit:
    """An instance with Restart=always, with the actions of the tests and of `judge`."""

    patience: Patience = PATIENCE
    now: float = 1000.0
    invocations: int = 1
    item: Instance = field(default_factory=lambda: Instance(3, 7, State.READY, 900.0, 900.0, invocation_id="1"))
    crashes: Crashes | None = None
    tried: bool = False
    stops: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    wake_at: float | None = None
    restarts: int = 0
    """By systemd and deployd."""

    def judge_now(self) -> Judgement:
        """Do what the crash loop does, with jobs that end at once."""
        judged = judge(self.crashes, self.item, self.now, self.patience, tried=self.tried)
        self.crashes, self.tried, self.wake_at = judged.crashes, False, judged.wake_at
        if judged.step is Step.STOP:
            self.stops.append(self.now)
            self.item = replace(self.item, state=State.INACTIVE, restarting=False, restarts=0)
        elif judged.step is Step.START:
            self.starts.append(self.now)
            self.begin(restarts=0)
            self.tried = True
            self.restarts += 1
        return judged

    def begin(self, restarts: int, state: State = State.STARTING) -> None:
        self.invocations += 1
        self.item = replace(
            self.item,
            state=state,
            restarting=False,
            restarts=restarts,
            invocation_id=str(self.invocations),
            started=self.now,
            detail="",
            ended=None,
        )

    def ready(self) -> None:
        self.item = replace(self.item, state=State.READY, ready_since=self.now)

    def crash(self, why: str = "exited with status 5 after it was ready") -> None:
        status = 5 if "status 5" in why else None
        self.item = replace(
            self.item, state=State.FAILED, restarting=True, ready_since=0.0, detail=why, exit_status=status
        )

    def end(self, why: str = "exited with status 0 after it was ready") -> None:
        """End without a request, and without an automatic restart."""
        self.item = replace(self.item, state=State.INACTIVE, restarts=0, detail=why, exit_status=0, ended=True)

    def restart(self) -> None:
        """Restart it as systemd does."""
        self.begin(self.item.restarts + 1)
        self.restarts += 1

    def life(self, lasts: float) -> None:
        """Restart, become ready and crash, observed at each step."""
        if self.item.state is State.FAILED:
            self.now += 0.5
            self.restart()
        self.judge_now()
        self.ready()
        self.judge_now()
        self.now += lasts
        self.crash()
        self.judge_now()

    def check_left_alone(self) -> None:
        for _ in range(5):
            assert self.judge_now().step is Step.NOTHING
            self.now += 1000.0

    @property
    def count(self) -> int:
        return self.crashes.count if self.crashes is not None else 0


def looping() -> Unit:
    """Keep it down, then start it again."""
    unit = Unit()
    while not unit.stops:
        unit.life(0.2)
    unit.now += 1.5
    unit.judge_now()
    assert unit.starts
    return unit
