"""What a rollout would do, in order; and what would be generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.rollout import hold_words
from deployd_cli.text.words import columns, dicts_of, number_of, text_of

VERBS = {verb: f"{verb} instance" for verb in ("start", "stop", "adopt", "freeze", "thaw")}
DIFF_STYLES = {"+": "good", "-": "bad", "@": "dim"}


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The actions, numbered, with how many instances are ready after each; last the least of these."""
    origin, target = text_of(plan, "from", "nothing"), text_of(plan, "to", "?")
    lines = [f"{text_of(plan, 'app', '-')}: from generation {origin} to {target}, {text_of(plan, 'release', '-')}"]
    actions = dicts_of(plan, "actions")
    if not actions:
        return [*lines, "nothing to do"]
    sentences = [_action(action) for action in actions]
    numbers, texts = len(str(len(actions))), max(map(columns, sentences))
    for number, (action, sentence) in enumerate(zip(actions, sentences, strict=True), 1):
        blanks = " " * (texts - columns(sentence))
        lines.append(f"{number:>{numbers + 2}}. {sentence}{blanks}  {number_of(action, 'ready')} ready")
    return [*lines, f"least capacity: {number_of(plan, 'floor')} ready"]


def _action(action: Mapping[str, Any]) -> str:
    name = text_of(action, "action", "?")
    if name == "pause":
        return f"wait for deployd resume ({hold_words(action)})"
    sentence = f"{VERBS.get(name, name)} {text_of(action, 'instance', '?')}"
    generation = text_of(action, "generation")
    return f"{sentence} (generation {generation})" if generation else sentence


def unit_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """The files one after another, each below its path, as `systemctl cat` prints them; not those that are to go."""
    lines: list[str] = []
    for unit in dicts_of(units, "units"):
        if _raw(unit, "text"):
            lines += ["", paint("dim", f"# {text_of(unit, 'path', '-')}"), *_raw(unit, "text")]
    return lines[1:]


def diff_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """A unified diff from what is installed to what would be; nothing if they are the same."""
    import difflib

    lines: list[str] = []
    for unit in dicts_of(units, "units"):
        path, installed = text_of(unit, "path", "-"), _raw(unit, "installed")
        before = path if unit.get("installed") is not None else "/dev/null"
        after = path if unit.get("text") else "/dev/null"
        for line in difflib.unified_diff(installed, _raw(unit, "text"), before, after, lineterm=""):
            lines.append(paint(DIFF_STYLES.get(line[:1], ""), line))
    return lines


def _raw(unit: Mapping[str, Any], key: str) -> list[str]:
    value = unit.get(key)
    return value.splitlines() if isinstance(value, str) else []


def check_line(app: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the file is valid, and the line that says so."""
    name = text_of(app, "app", "-")
    if app.get("valid") is True:
        return True, f"{name}: valid"
    return False, f"{name}: {text_of(app, 'error', 'not valid')}"
