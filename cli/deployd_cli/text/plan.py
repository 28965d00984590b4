"""The actions of a rollout in order; the validity of app files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.changes import change_lines
from deployd_cli.text.paint import Paint
from deployd_cli.text.processes import processes_of
from deployd_cli.text.rollout import pause_words, release_change
from deployd_cli.text.words import columns, dicts_of, list_of, number_of, printable, text_of

VERBS = {verb: f"{verb} instance" for verb in ("start", "stop", "adopt", "freeze", "thaw")}


def plan_lines(plan: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return what changes, the actions, numbered, with the instances that are ready after each, and the minimum of
    these."""
    origin, target = text_of(plan, "from"), text_of(plan, "to", "?")
    change = f"generation {origin} → {target}" if origin else f"first deployment, generation {target}"
    lines = [f"{text_of(plan, 'app', '-')}: {change}: {release_change(plan)}", *change_lines(plan, paint)]
    lines += _steps(plan)
    for process, its in processes_of(plan):
        lines += ["", f"{process}:", *_steps(its)]
    return lines


def _steps(plan: Mapping[str, Any]) -> list[str]:
    """Return the actions with the instances of one process type."""
    actions, lines = dicts_of(plan, "actions"), list[str]()
    if not actions:
        return ["nothing to do"]
    sentences = [_action(action) for action in actions]
    numbers, texts = len(str(len(actions))), max(map(columns, sentences))
    for number, (action, sentence) in enumerate(zip(actions, sentences, strict=True), 1):
        blanks = " " * (texts - columns(sentence))
        lines.append(f"{number:>{numbers + 2}}. {sentence}{blanks}  {number_of(action, 'ready')} ready")
    return [*lines, f"minimum: {number_of(plan, 'floor')} ready"]


def _action(action: Mapping[str, Any]) -> str:
    name = text_of(action, "action", "?")
    if name == "pause" and action.get("smoke") is True:
        return f"run the smoke tests with {pause_words(action)}"
    if name == "pause":
        return f"pause at {pause_words(action)}"
    sentence = f"{VERBS.get(name, name)} {text_of(action, 'instance', '?')}"
    generation = text_of(action, "generation")
    return f"{sentence} (generation {generation})" if generation else sentence


def warning_lines(app: Mapping[str, Any]) -> list[str]:
    """Return the lines about what may be wrong with a valid file."""
    return [f"{text_of(app, 'app', '-')}: warning: {printable(str(item))}" for item in list_of(app, "warnings")]


def check_line(app: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the file is valid, and the line to print."""
    name = text_of(app, "app", "-")
    if app.get("valid") is True:
        return True, f"{name}: valid"
    return False, f"{name}: {text_of(app, 'error', 'invalid')}"
