"""The ecosystem file of pm2: script, instances and environment of its first web app."""

from __future__ import annotations

import re
import shlex
from typing import Any

from deployd_cli.presets.facts import Command, Content, Facts, Found
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import command_text, object_literal

FILES = ("ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.json")
# Possessive, or a hostile file could have it backtrack for ever.
_BEGINNING = re.compile(
    r"(?:\s|//[^\n]*+|/\*.*?\*/|[\"']use strict[\"'];?)*+(?:module\.exports\s*+=\s*+)?(?=[{\[])", re.DOTALL
)
_TAKEN = frozenset({"name", "script", "args", "instances", "env", "env_production", "interpreter"})
_WITHOUT_MEANING = frozenset(
    {"exec_mode", "autorestart", "watch", "ignore_watch", "wait_ready", "listen_timeout", "kill_timeout", "min_uptime"}
    | {"max_restarts", "restart_delay", "combine_logs", "merge_logs", "log_date_format", "error_file", "out_file"}
    | {"log_file", "pid_file", "instance_var", "time", "exp_backoff_restart_delay", "vizion", "treekill"}
)
"""What systemd and deployd do in their own way."""


def read(project: Project) -> Facts:
    """Return what the file says about the first app, and a sentence for everything that is not taken over."""
    file = next((name for name in FILES if project.text(name)), "")
    if not file:
        return Facts()
    text = project.text(file)
    try:
        beginning = _BEGINNING.match(text)
        if beginning is None:
            raise object_literal.NotPlain(text, 0)
        raw = object_literal.parse(text, beginning.end())
    except object_literal.NotPlain as problem:
        return Facts(
            unclear=(
                f"{file} is more than a plain object (line {problem.line}) and was not read: copy script,"
                " instances and env by hand",
            )
        )
    apps = raw.get("apps") if isinstance(raw, dict) else raw
    found = [app for app in (apps if isinstance(apps, list) else [raw]) if isinstance(app, dict)]
    named = [app for app in found if isinstance(app.get("script"), str) and app["script"].isprintable()]
    if not named:
        return Facts(unclear=(f"{file} names no script",))
    facts = _facts(named[0], file)
    others = [f'{file} also has the app "{_shown(app)}": it needs an app file of its own' for app in named[1:]]
    return Facts(commands=facts.commands, values=facts.values, unclear=(*facts.unclear, *others))


def _facts(app: dict[str, Any], file: str) -> Facts:
    script = app["script"].removeprefix("./")
    words = (script, *_arguments(app.get("args")))
    unclear: list[str] = []
    values: dict[str, Content] = {}
    interpreter = app.get("interpreter", "node")
    if interpreter == "node" and script.endswith((".js", ".cjs", ".mjs")):
        words = ("node", *words)
        values["script"] = script
        if len(words) > 2:
            values["arguments"] = words[2:]
    elif isinstance(interpreter, str) and interpreter not in ("none", "node") and interpreter.isprintable():
        words = (interpreter, *words)
    instances = app.get("instances")
    if isinstance(instances, int) and not isinstance(instances, bool) and 1 <= instances <= 500:
        values["instances"] = str(instances)
    elif instances not in (None, 0, -1, "max"):
        unclear.append(f"{file}: instances was not understood")
    environment, problems = _environment(app, file)
    if environment:
        values["environment"] = environment
    ignored = [key for key in app if key not in _TAKEN | _WITHOUT_MEANING and key.isprintable()]
    if ignored:
        unclear.append(f"{file}: not taken over: {', '.join(ignored[:10])}")
    values["command"] = words
    return Facts(
        commands=(Command(words, file),),
        values={name: Found(content, file) for name, content in values.items()},
        unclear=(*unclear, *problems),
    )


def _arguments(raw: object) -> list[str]:
    if isinstance(raw, str):
        try:
            words = shlex.split(raw)
        except ValueError:
            words = raw.split()
    else:
        words = [str(word) for word in raw if isinstance(word, (str, int))] if isinstance(raw, list) else []
    return [word for word in words if word.isprintable()]


def _environment(app: dict[str, Any], file: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables of production without secrets and PORT, and sentences about the others."""
    merged: dict[str, str] = {}
    for key in ("env", "env_production"):
        table = app.get(key)
        for name, value in table.items() if isinstance(table, dict) else ():
            usable = isinstance(value, (str, int, float)) and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
            if usable and str(value).isprintable():
                merged[name] = str(value).lower() if isinstance(value, bool) else str(value)
    problems = []
    if hidden := command_text.secrets(merged):
        problems.append(
            f"{file} sets {', '.join(hidden)}: put them into environment_files, because others can read an app file"
        )
    if "PORT" in merged:
        problems.append(f"{file} sets PORT={merged['PORT']}: listen has the address, and each instance its own $PORT")
    return {name: value for name, value in merged.items() if name not in hidden and name != "PORT"}, problems


def _shown(app: dict[str, Any]) -> str:
    name = app.get("name", app["script"])
    return name if isinstance(name, str) and name.isprintable() else "?"
