"""From arguments to exit status. The only place where exceptions become statuses and messages.

0 done · 1 failed · 2 usage · 3 refused · 4 no such app · 5 daemon unreachable · 130 interrupted
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from deployd.errors import DeploydError, ExitStatus, InvalidRequest, NoSuchApp, NothingRestarted, RolloutFailed
from deployd_cli.interrupted import Interrupted

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (without the program's name) describes and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.disable()  # a sixth of a start: nearly all that importing allocates lives to the end
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Python must find nothing to flush at exit, or it would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.FAILED
    finally:
        gc.enable()
        gc.freeze()  # or the interpreter would search all of it once more at exit
    return status


def _run(arguments: list[str]) -> int:
    from deployd_cli.output import message, quote

    try:
        from deployd_cli.program import WrongUsage, run
    except ModuleNotFoundError as error:
        message(f"deployd: the Python module {error.name} is missing; install deployd again, with its dependencies")
        return ExitStatus.FAILED
    try:
        _require_text(arguments)
        return run(arguments)
    except DeploydError as error:
        lines = getattr(error, "__notes__", ())  # add_note(): output of a process that failed
        sentence = f"{error}{_suggestion(error, arguments)}"
        if not isinstance(error, WrongUsage):
            message(f"deployd: {sentence}")
            quote(lines)
        if "--json" in arguments and not isinstance(error, _AFTER_FINISHED):
            _show_error(error, sentence, lines)
        return error.exit_status
    except BrokenPipeError:
        raise
    except (Interrupted, KeyboardInterrupt) as error:
        if str(error):
            message(f"deployd: {error}")
        return INTERRUPTED
    except Exception as error:
        # A bug. The journal of the daemon gets the whole traceback, a user one sentence and a way to see the rest.
        if _words(arguments)[:1] == ["daemon"] or os.environ.get("DEPLOYD_DEBUG"):
            raise
        message(f"deployd: internal error: {error!r}; DEPLOYD_DEBUG=1 shows where")
        return ExitStatus.FAILED


_AFTER_FINISHED = (RolloutFailed, NothingRestarted)
"""Errors that only repeat the event "finished"."""


def _show_error(error: DeploydError, sentence: str, lines: Sequence[str]) -> None:
    from deployd_cli.output import show_json

    journal = [line.strip() for line in lines]
    show_json(
        {
            "event": "error",
            "error": error.name,
            "message": sentence,
            "exit_status": int(error.exit_status),
            "journal": journal,
        }
    )


def _suggestion(error: DeploydError, arguments: Sequence[str]) -> str:
    if not isinstance(error, NoSuchApp):
        return ""
    from deployd_cli.suggestions import similar_app

    return similar_app(_words(arguments))


def _words(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are no options: the command and its arguments."""
    return [argument for argument in arguments if not argument.startswith("-")]


def _require_text(arguments: Sequence[str]) -> None:
    """Raise InvalidRequest for an argument that is not UTF-8: the kernel allows any bytes, D-Bus does not."""
    for argument in arguments:
        raw = os.fsencode(argument)
        shown = raw.decode(errors="backslashreplace")
        if shown.encode() != raw:
            raise InvalidRequest(f"the argument {shown} is not UTF-8; rename the file or app that it names")
