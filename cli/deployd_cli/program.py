"""The table of commands, and the typer application that calls them.

A command is a function with typer's defaults, in a module of its own below ``commands``; the module is
imported when its command is called, completed or described, so that ``status`` does not pay for ``rollout``.
"""

from __future__ import annotations

import importlib
from typing import Any

from deployd_cli.startup import without

with without("rich"):
    import typer
    from typer.core import TyperGroup

COMMANDS = {
    "check": "check",
    "units": "units",
    "apply": "rollout",
    "plan": "plan",
    "rollout": "rollout",
    "rollback": "rollout",
    "pause": "control",
    "resume": "control",
    "abort": "control",
    "restart": "rollout",
    "scale": "rollout",
    "status": "status",
    "history": "history",
    "logs": "logs",
    "remove": "control",
    "daemon": "daemon",
}
"""Command to module, in the order of --help. The module's function has the command's name."""

PLAIN: dict[str, Any] = {
    "add_completion": False,  # completions are files of the package: packaging/completions
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Commands(TyperGroup):
    """A group that knows its commands' names, and makes a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"deployd_cli.commands.{COMMANDS[cmd_name]}")
        single = typer.Typer(**PLAIN)
        single.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(cls=Commands, no_args_is_help=True, **PLAIN)


def _version(asked: bool) -> None:
    if asked:
        from deployd_cli.output import say_version

        say_version()
        raise typer.Exit


@app.callback()
def deployd(
    version: bool = typer.Option(False, "--version", is_eager=True, callback=_version, help="Print the version."),
) -> None:
    """Zero-downtime releases for web applications, with nothing but systemd."""


def run(arguments: list[str]) -> int:
    """Parse and call; returns the exit status, having explained the usage where that was wrong."""
    try:
        typer.main.get_command(app).main(arguments, prog_name="deployd")
    except SystemExit as end:  # how typer returns
        return end.code if isinstance(end.code, int) else 0
    return 0
