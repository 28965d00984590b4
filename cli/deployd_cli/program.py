"""The table of commands, and the typer application that calls them.

A command is a function with typer's defaults in a module below ``commands``. The module is imported when the
command is called, completed or described, so that the start of ``status`` does not include ``rollout``. A command
that has commands of its own is a dict of such functions.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# typer before 0.17 imports rich, and dbus-next GLib, if installed. Neither is used here, and on Debian 13 they are two
# fifths of the command's start and a tenth of the daemon's memory. None stands for a module that cannot be found.
sys.modules.update(dict.fromkeys({"rich", "gi"} - sys.modules.keys()))  # type: ignore[arg-type]

import typer  # noqa: E402
from typer.core import TyperCommand, TyperGroup  # noqa: E402

from deployd.errors import InvalidRequest  # noqa: E402
from deployd_cli.interrupted import Interrupted  # noqa: E402

GROUPS = {
    "Look": {
        "status": "status",
        "health": "health",
        "metrics": "metrics",
        "history": "history",
        "logs": "logs",
        "events": "events",
        "compare": "compare",
        "preview": "preview",
        "releases": "releases",
    },
    "Set up and change": {
        "presets": "presets",
        "init": "init",
        "check": "check",
        "units": "units",
        "apply": "rollout",
        "plan": "plan",
        "deploy": "deploy",
        "rollout": "rollout",
        "rollback": "rollout",
        "run": "run",
        "restart": "rollout",
        "scale": "rollout",
        "remove": "control",
    },
    "Steer a rollout": {
        "wait": "wait",
        "pause": "control",
        "resume": "control",
        "abort": "control",
        "weight": "control",
    },
    "Several hosts": {
        "fleet": "fleet",
    },
    "System": {
        "drain": "drain",
        "undrain": "drain",
        "setup": "setup",
        "repair": "repair",
        "daemon": "daemon",
    },
}
"""The commands as --help shows them, each with its module. The function in the module has the name of the command."""

COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}

EXAMPLES = """\
Examples:
  deployd init shop --release /srv/shop/current   write an app file
  deployd apply shop                              deploy it
  deployd rollout shop --release /srv/shop/v2     release, and wait for the end
  deployd rollback shop                           return to the release before
  deployd status shop --watch
"""

NO_ASK_PASSWORD = "--no-ask-password"  # noqa: S105 - an option
USER = "--user"
HAS_OWN_USER = "init"
"""The command with an option --user of its own."""

PLAIN: dict[str, Any] = {
    # Set by the files in packaging/completions; only then typer loads its support of shells.
    "add_completion": "_DEPLOYD_COMPLETE" in os.environ,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Unconverted:
    """Skips the conversion of a value that is missing or has the right type already.

    Recent typers do so with flags only; for a string, and for a --help not given, they import pydantic, which takes
    as long as half of the start. It also allows a default that a user may not give: 0 for "not given".
    """

    types: Mapping[str, object] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of typer's command, the other base class
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                parameter.process_value = partial(self._process, parameter, parameter.process_value)
        return parameters

    def _process(self, parameter: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
        given = value is not None or parameter.required
        if given and type(value).__name__ != self.types.get(parameter.name):
            return convert(ctx, value)
        return value if parameter.callback is None else parameter.callback(ctx, parameter, value)


class Command(Unconverted, TyperCommand):
    """A command."""


class Commands(Unconverted, TyperGroup):
    """The group of all commands; a command is made when it is needed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from deployd_cli.suggestions import did_you_mean

            ctx.fail(f'there is no command "{name}"{did_you_mean(name, COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, COMMANDS))  # so that the columns of all groups are equal
        for title, names in GROUPS.items():
            commands = {name.ljust(width): self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl([(name, each.get_short_help_str(limit=80)) for name, each in commands.items()])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        formatter.write(f"\n{EXAMPLES}")  # as it is: click would fill the lines

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"deployd_cli.commands.{COMMANDS[cmd_name]}")
        found = getattr(module, cmd_name)
        return _group(found, module.__doc__ or "") if isinstance(found, dict) else _command(cmd_name, found)


class Subcommands(Unconverted, TyperGroup):
    """A command that has commands of its own."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            from deployd_cli.suggestions import did_you_mean

            ctx.fail(f'there is no command "{self.name} {name}"{did_you_mean(name, self.commands)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=80)) for name, each in self.commands.items()])


def _command(name: str, function: Callable[..., None]) -> Any:
    single = typer.Typer(**PLAIN)
    single.command(name, cls=Command)(function)
    command: Any = typer.main.get_command(single)
    command.types = function.__annotations__  # as text: the modules postpone their annotations
    return command


def _group(functions: Mapping[str, Callable[..., None]], docstring: str) -> Any:
    """Return the command that has these functions as commands. The docstring is that of their module."""
    name, _, text = docstring.partition("\n")[0].removeprefix("deployd ").partition(": ")
    group = typer.Typer(cls=Subcommands, no_args_is_help=True, help=text[:1].upper() + text[1:], **PLAIN)
    for subcommand, function in functions.items():
        group.command(subcommand, cls=Command)(function)
    command: Any = typer.main.get_command(group)
    command.name = name
    for subcommand, function in functions.items():
        command.commands[subcommand].types = function.__annotations__
    return command


class WrongUsage(InvalidRequest):
    """The arguments of the command do not fit."""


app = typer.Typer(cls=Commands, no_args_is_help=True, **PLAIN)


def _version(asked: bool) -> None:
    if asked:
        from deployd_cli.output import show_version

        show_version()
        raise typer.Exit


def _no_ask_password(wanted: bool) -> None:
    if wanted:
        from deployd_cli.password_agent import PasswordAgent

        PasswordAgent.allowed = False


def _user(wanted: bool) -> None:
    if wanted:
        from deployd_cli.chosen import choose_user

        choose_user()


@app.callback()
def deployd(
    version: bool = typer.Option(False, "-V", "--version", is_eager=True, callback=_version, help="Print the version."),
    no_ask_password: bool = typer.Option(
        False, NO_ASK_PASSWORD, callback=_no_ask_password, help="Do not ask for a password, not on a terminal either."
    ),
    user: bool = typer.Option(
        False, USER, callback=_user, help="Work with apps of the calling user, not of the system."
    ),
) -> None:
    """Zero-downtime releases for web applications, with nothing but systemd."""


_WrongUsage: Any = typer.BadParameter.__bases__[0]
"""click's UsageError, wherever this typer has click."""


def options_first(arguments: list[str]) -> list[str]:
    """Return the arguments with the options of all commands first, where the parser wants them.

    As with systemctl(1), they may follow the command.
    """
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    options = {NO_ASK_PASSWORD} if command == HAS_OWN_USER else {NO_ASK_PASSWORD, USER}
    return sorted(arguments, key=lambda argument: argument not in options)


def run(arguments: list[str]) -> int:
    """Parse the arguments and call the command; return the exit status. Raises Interrupted and WrongUsage, whose
    explanation has been printed."""
    arguments = options_first(arguments)
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="deployd", standalone_mode=False)
    except _WrongUsage as error:
        error.show()
        raise WrongUsage(error.format_message()) from None
    except typer.Abort:
        raise Interrupted from None
    return status if isinstance(status, int) else 0
