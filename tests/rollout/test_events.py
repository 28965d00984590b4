"""What a rollout tells while it goes on."""

from __future__ import annotations

from typing import Any

from deployd.model.instance import Instance, State
from deployd.rollout.events import Events


def test_an_unanswered_probe_is_told_when_it_changes() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    story = Events("demo", lambda event, fields: told.append((event, fields)))

    def asked(*errors: str) -> None:
        story.probing([Instance(number, 8, State.READY, probe_error=error) for number, error in enumerate(errors, 1)])
        said.append([(event, fields["instance"], fields["generation"], fields["reason"]) for event, fields in told])
        told.clear()

    said: list[list[tuple[str, int, int, str]]] = []
    for errors in ((), ("", "answered 503"), ("", "answered 503"), ("refused", "answered 500"), ("", ""), ("refused",)):
        asked(*errors)
    assert said == [
        [],
        [("probe", 2, 8, "answered 503")],
        [],
        [("probe", 1, 8, "refused"), ("probe", 2, 8, "answered 500")],
        [],
        [("probe", 1, 8, "refused")],
    ]
