"""The result of a repair: a sentence for each app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.rollout import how_of
from deployd_cli.text.words import dicts_of, text_of


def repair_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the sentences about the history and about each app."""
    aside = text_of(answer, "aside")
    kept = f"; the old one is kept as {aside}" if aside else ""
    return [
        f"{text_of(answer, 'history', 'the history')} was rebuilt{kept}",
        *(f"{text_of(app, 'app', '?')}: {_what(app)}" for app in dicts_of(answer, "apps")),
    ]


def _what(app: Mapping[str, Any]) -> str:
    if error := text_of(app, "history_error"):
        return error
    name, target, generation = text_of(app, "app", "APP"), text_of(app, "rollout"), text_of(app, "generation")
    where = f"at generation {generation}" if generation else "no successful generation"
    if target:
        return f"{where}, rollout of generation {target} paused; {how_of(app, name)}"
    return where
