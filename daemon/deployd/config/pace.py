"""The [rollout] table: pace, order, pauses, hooks, analysis and standby of a rollout."""

from __future__ import annotations

from typing import Any

from deployd.config import values
from deployd.config.source import Problem, Table, kind
from deployd.model.pace import Amount, AnalysisSettings, HookKind, HookSettings, OnFailure, Order, Pace


def pace(table: Table) -> Pace:
    """Read the table."""
    default = Pace()
    surge = table.get("max_surge", values.amount, default.max_surge)
    found = Pace(
        max_surge=surge,
        max_unavailable=table.get("max_unavailable", values.amount, default.max_unavailable),
        # Who writes max_surge = 0 has no room for another instance, whatever it is for.
        rollback_surge=table.get("rollback_surge", values.amount, default.rollback_surge if surge.value else surge),
        order=table.get("order", values.choice(Order), default.order),
        on_failure=table.get("on_failure", values.choice(OnFailure), default.on_failure),
        deadline=table.get("deadline", values.duration(1, 7 * values.DAY), default.deadline),
        watch=table.get("watch", values.duration(0, values.DAY), default.watch),
        pause_after=table.get("pause_after", pauses, default.pause_after),
        irreversible=table.get("irreversible", values.boolean, default.irreversible),
        hooks=_hooks(table.table("hooks")),
        standby=table.get("standby", values.duration(0, 7 * values.DAY), default.standby),
        standby_memory=table.get("standby_memory", values.memory, default.standby_memory),
        analysis=_analysis(table.table("analysis")) if "analysis" in table else None,
        preview_group=table.get("preview_group", values.account, default.preview_group),
    )
    table.finish(
        {
            **dict.fromkeys(HookKind, "[rollout.hooks]"),
            "timeout": "[rollout.hooks] or [rollout.analysis]",
            **dict.fromkeys(("command", "interval"), "[rollout.analysis]"),
            "warm_up": "the top level of the file, above all tables",
        }
    )
    return found


def pauses(raw: Any) -> tuple[Amount, ...]:
    """Convert the numbers of new instances after which a rollout pauses. Their order does not matter."""
    found = values.array(values.amount, '[1, "50%"]')(raw)
    for index, item in enumerate(found):
        if not item.value:
            raise Problem(f'a pause after {item} would precede the first instance; write counts from 1 or "1%" up')
        if item in found[:index]:
            raise Problem(f"{item} is listed twice; remove one of them")
    return found


def _hooks(table: Table) -> HookSettings:
    default = HookSettings()
    hooks = HookSettings(
        **{kind.value: table.get(kind.value, commands, default.of(kind)) for kind in HookKind},
        timeout=table.get("timeout", values.duration(0.1, values.DAY), default.timeout),
    )
    table.finish()
    return hooks


def _analysis(table: Table) -> AnalysisSettings:
    default = AnalysisSettings(())
    analysis = AnalysisSettings(
        command=table.require("command", values.argv, 'command = ["bin/is-well"]'),
        interval=table.get("interval", values.duration(0.1, values.DAY), default.interval),
        timeout=table.get("timeout", values.duration(0.1, values.DAY), default.timeout),
    )
    table.finish()
    return analysis


def commands(raw: Any) -> tuple[tuple[str, ...], ...]:
    """Convert commands that run one after another, each an argv."""
    example = '[["./bin/migrate"]]'
    if isinstance(raw, list) and raw and not isinstance(raw[0], list):
        raise Problem(f"must be an array of commands, each an array itself, not of {kind(raw[0])}; write {example}")
    return values.array(values.argv, example)(raw)
