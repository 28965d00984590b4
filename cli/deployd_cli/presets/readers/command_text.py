"""Takes apart a command as it is written in a Procfile, in package.json or for pm2."""

from __future__ import annotations

import re
import shlex

from deployd_cli.presets.facts import Command, Content, Found

_FOR_SHELL = re.compile(r"[|&;<>()`\\*?\[\]~#!{}\n]|\$(?!PORT\b)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_TARGET = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\(\))?")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.\w+)+|wsgi|asgi|app|main")
_SERVERS = {
    "gunicorn": "wsgi",
    "uwsgi": "wsgi",
    "waitress-serve": "wsgi",
    "uvicorn": "asgi",
    "hypercorn": "asgi",
    "granian": "asgi",
}
"""Programs of Python whose argument is the application, as ``module:name``."""
_SHELLS_OWN = frozenset({"cd", "eval", "exec", "export", "for", "if", "set", "source", "while", ".", "{"})
_NODE = frozenset({"node", "nodejs", "nodemon", "node-dev"})
"""Those that restart a program when files change are for development: node itself takes their place."""
_NODE_WITH_VALUE = frozenset({"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions"})
SECRET = re.compile(r"SECRET|PASSW|TOKEN|KEY|CREDENTIAL|DSN|_URL$|_URI$", re.IGNORECASE)
LONGEST = 4000


def parsed(text: str, file: str) -> tuple[Command, dict[str, str]] | None:
    """Return a command and the variables that are assigned before it; None if there is no command."""
    text = text.strip()[:LONGEST].replace("${PORT}", "$PORT")
    if not text.isprintable():
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    assigned: dict[str, str] = {}
    while words and words[0] != "env" and (found := _ASSIGNMENT.fullmatch(words[0])):
        assigned[found[1]] = found[2]
        words.pop(0)
    if words[:1] == ["exec"]:
        words.pop(0)
    if not words:
        return None
    return Command(tuple(words), file, _replacing(text) if _FOR_SHELL.search(text) else ""), assigned


def _replacing(text: str) -> str:
    """Return a command whose shell is replaced by the program, if possible, so that the program gets the signals."""
    before, separator, last = text.rpartition("&&")
    last = last.strip()
    program = last.split(maxsplit=1)[0] if last else ""
    plain = re.sub(r"&&|\$\{[^{}]*\}", "", text)
    if not program or program in _SHELLS_OWN or re.search(r"[;|&(){}]|<<", plain):
        return text
    how = "exec env" if _ASSIGNMENT.fullmatch(program) else "exec"
    return f"{before}{separator} {how} {last}".strip()


def values(command: Command, assigned: dict[str, str]) -> dict[str, Found]:
    """Return what a start command says about the values of templates."""
    found: dict[str, Content] = {"command": command.words, "shell": command.shell}
    open_ones = {name: value for name, value in assigned.items() if not SECRET.search(name) and name != "PORT"}
    if open_ones:
        found["environment"] = open_ones
    names = [word.rpartition("/")[2] for word in command.words]
    for program, kind in _SERVERS.items():
        if program in names and (target := _target(command.words[names.index(program) + 1 :])):
            asgi = program == "gunicorn" and any("vicorn" in word for word in command.words)
            found["asgi" if asgi else kind] = target
            break
    if names[0] in _NODE:
        found |= _node(command.words[1:])
    return {name: Found(content, command.file) for name, content in found.items() if content}


def secrets(assigned: dict[str, str]) -> list[str]:
    """Return the names of variables whose values do not belong into a file that everyone can read."""
    return [name for name in assigned if SECRET.search(name)]


def _target(words: tuple[str, ...]) -> str:
    """Return the application that a server's arguments name."""
    named = [word for word in words if _TARGET.fullmatch(word)]
    if named:
        return named[-1]
    before = ("", *words)
    bare = [word for last, word in zip(before, words, strict=False) if not last.startswith("-") or "=" in last]
    module = next((word for word in bare if _MODULE.fullmatch(word)), "")
    return f"{module}:application" if module else ""


def _node(words: tuple[str, ...]) -> dict[str, Content]:
    """Return the options of node, the script and its arguments."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] in _NODE_WITH_VALUE else 1
    if position >= len(words):
        return {}
    return {"node_options": words[:position], "script": words[position], "arguments": words[position + 1 :]}
