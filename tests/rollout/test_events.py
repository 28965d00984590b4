"""The events that a rollout reports."""

from __future__ import annotations

from typing import Any

from deployd.model.instance import Instance, State
from deployd.rollout.events import Events


def test_a_bad_answer_of_a_probe_is_reported_when_it_changes() -> None:
    reported: list[tuple[str, dict[str, Any]]] = []
    events = Events("demo", lambda event, fields: reported.append((event, fields)))

    def probe(*errors: str) -> None:
        events.probing([Instance(number, 8, State.READY, probe_error=error) for number, error in enumerate(errors, 1)])
        results.append(
            [(event, *(fields[key] for key in ("instance", "generation", "reason"))) for event, fields in reported]
        )
        reported.clear()

    results: list[list[tuple[str, int, int, str]]] = []
    for errors in ((), ("", "answered 503"), ("", "answered 503"), ("refused", "answered 500"), ("", ""), ("refused",)):
        probe(*errors)
    assert results == [
        [],
        [("probe", 2, 8, "answered 503")],
        [],
        [("probe", 1, 8, "refused"), ("probe", 2, 8, "answered 500")],
        [],
        [("probe", 1, 8, "refused")],
    ]
