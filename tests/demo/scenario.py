"""The steps of the demonstration, in order, each with its command and the expected result. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from tests.demo.settings import Settings

APP = "demo"
PORT = 8080
RELEASES = {"v1": "good", "v2": "good", "v3": "crash", "v4": "hang"}
"""The modes are those of tests/sample_apps/demo."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step. `version` is rolled out, `serves` must serve afterwards; they differ for a bad release."""

    name: str  # of the row in the tables
    title: str
    about: str
    command: tuple[str, ...]
    version: str
    serves: str
    result: str  # of the generation in deployd's history

    @property
    def good(self) -> bool:
        return self.version == self.serves

    @property
    def status(self) -> int:
        """The exit status the command must have."""
        return 0 if self.good else 1


def directory(version: str) -> str:
    return f"/srv/{APP}/{version}"


def first(settings: Settings) -> Step:
    """Return the first deployment, before the load."""
    return Step(
        "v1, first deploy",
        "The first deployment",
        "apply generates a socket and a service template from the app file, and starts "
        f"{settings.instances} instances. The listening socket belongs to systemd from now on.",
        ("deployd", "apply", APP),
        "v1",
        "v1",
        "succeeded",
    )


def steps(settings: Settings) -> tuple[Step, ...]:
    """Return the rollouts under load."""
    pace = (
        "An old instance stops, a new one boots in its place, and the next one waits for its READY=1."
        if settings.in_place
        else "A new instance boots alongside the old ones; when it has sent READY=1, an old one stops. "
        "Then the next one follows."
    )
    return (
        _rollout("v1 → v2", "A good release", pace, "v2", "v2"),
        _rollout("v3, crashes", "A release that crashes at boot", "Its process exits with status 3.", "v3", "v2"),
        _rollout(
            "v4, never ready",
            "A release that never becomes ready",
            f"Its process runs, but never sends READY=1. The gate allows {settings.gate:g} s.",
            "v4",
            "v2",
        ),
        Step(
            "back to v1",
            "The rollback",
            "A rollback is a rollout too, as a new generation. The bad releases have gone, so it names the good one.",
            ("deployd", "rollback", APP, "--to", "1"),
            "v1",
            "v1",
            "succeeded",
        ),
    )


def _rollout(name: str, title: str, about: str, version: str, serves: str) -> Step:
    command = ("deployd", "rollout", APP, "--release", directory(version))
    result = "succeeded" if version == serves else "rolled-back"
    return Step(name, title, about, command, version, serves, result)
