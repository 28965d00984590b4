"""From arguments to exit status. The one place where exceptions become statuses and sentences.

0 done · 1 failed · 2 usage · 3 refused · 4 no such app · 5 daemon unreachable · 130 interrupted
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from deployd.errors import DeploydError, ExitStatus, InvalidRequest
from deployd_cli.interrupted import Interrupted

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv` says (without the program's name) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.disable()  # a sixth of a start: nearly all that importing allocates lives to the end
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. Nothing must be left for Python to flush, and complain about, at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.FAILED
    finally:
        gc.enable()
        gc.freeze()  # or the interpreter would search all of it once more at exit
    return status


def _run(arguments: list[str]) -> int:
    from deployd_cli.output import message, quote
    from deployd_cli.program import run

    try:
        _require_text(arguments)
        return run(arguments)
    except DeploydError as error:
        message(f"deployd: {error}")
        quote(getattr(error, "__notes__", ()))  # add_note(): what a process wrote before it failed
        return error.exit_status
    except BrokenPipeError:
        raise
    except (Interrupted, KeyboardInterrupt) as error:
        if str(error):
            message(f"deployd: {error}")
        return INTERRUPTED
    except Exception as error:
        # A bug. The daemon's journal wants all of it; a user wants a sentence, and a way to ask for more.
        if arguments[:1] == ["daemon"] or os.environ.get("DEPLOYD_DEBUG"):
            raise
        message(f"deployd: internal error: {error!r}; DEPLOYD_DEBUG=1 shows where")
        return ExitStatus.FAILED


def _require_text(arguments: Sequence[str]) -> None:
    """Names are any bytes to the kernel, but text to D-Bus."""
    for argument in arguments:
        raw = os.fsencode(argument)
        shown = raw.decode(errors="backslashreplace")
        if shown.encode() != raw:
            raise InvalidRequest(f"the argument {shown} is not UTF-8; rename what it names")
