"""Which lines of a program's output to show of its crash: those with the message, however long the stack. Pure.

Python writes the message after the stack, most other languages before it, and Java a "Caused by:" for each exception
below. Stacks are shortened, and the message of the newest one is always shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_FRAMES = 2
"""Lines that are shown of a stack, those next to its message."""

_PYTHON = re.compile(r'[\s|+-]*File ".*", line \d+')
_FRAME = re.compile(
    r"""
    [\s|+-]*File\ ".*",\ line\ \d+              # Python
    | \s*from\ .*:\d+:in\b                      # Ruby
    | \s+\S+:\d+:in\ [`']                       # Ruby, as loggers print it
    | \s*(?:/|<internal:)\S*:\d+:in\ [`'][^']*'$  # Ruby
    | \s+at\ \S.*                               # Java, .NET, JavaScript, Rust
    | \s+\.\.\.\ \d+\ (?:more|common\ frames)   # Java
    | \#\d+\ .*                                 # PHP
    | \s+\S+\.(?:go|s):\d+(?:\ \+0x[0-9a-f]+)?$ # Go
    | \S+\([^()]*\)$                            # Go: the function, before its place
    | created\ by\ \S+.*                        # Go
    | \s+\d+:\s+(?:0x[0-9a-f]+\ -\ )?\S+$       # Rust
    | \s+\(\S+\ [^()]*\)\ \S+:\d+:\ .*          # Elixir
    """,
    re.VERBOSE,
)
_HEADING = re.compile(
    r"\s*(?:Traceback \(most recent call last\):|goroutine \d+ .*:|\[?stack ?(?:back)?trace\]?:?|Backtrace:)?$",
    re.IGNORECASE,
)
"""Lines between the message and its stack, which say nothing of their own."""
_CAUSE = re.compile(r"\s*Caused by: ")
_INDENTED = re.compile(r"[\s|]{4,}\S")


@dataclass(frozen=True, slots=True)
class _Stack:
    """Frames of a stack that follow each other, as indexes of lines: from `begin` to before `end`."""

    begin: int
    end: int
    message_last: bool


def has_frames(lines: Sequence[str]) -> bool:
    """True if any line looks like a frame of a stack, whose message may be further up."""
    return any(_FRAME.match(line) or _INDENTED.match(line) for line in lines)


def excerpt(lines: Sequence[str], most: int) -> tuple[str, ...]:
    """Return at most `most` of the lines, in their order; the oldest come first."""
    if len(lines) <= most:
        return tuple(lines)
    stacks = _stacks(lines)
    hidden: dict[int, int] = {}
    for stack in stacks:
        hidden |= _hidden(stack)
    needed = _messages(lines, stacks)[-max(1, most // 2) :]
    chosen = set(needed)
    for index in reversed(range(len(lines))):
        if len(chosen) == most:
            break
        if hidden.get(index) != 0:
            chosen.add(index)
    return tuple(_mark(hidden[index]) if index in hidden else lines[index] for index in sorted(chosen))


def _stacks(lines: Sequence[str]) -> list[_Stack]:
    found, index = list[_Stack](), 0
    while index < len(lines):
        end, python = index, False
        while end < len(lines) and (_FRAME.match(lines[end]) or (python and _INDENTED.match(lines[end]))):
            python = python or _PYTHON.match(lines[end]) is not None
            end += 1
        if end > index:
            found.append(_Stack(index, end, python))
        index = max(end, index + 1)
    return found


def _hidden(stack: _Stack) -> dict[int, int]:
    """Map the lines of a stack that are not shown to 0, but the first of them to their number, for the mark."""
    count = stack.end - stack.begin - SHOWN_FRAMES
    if count < 2:
        return {}
    begin = stack.begin if stack.message_last else stack.begin + SHOWN_FRAMES
    return {begin: count} | dict.fromkeys(range(begin + 1, begin + count), 0)


def _mark(count: int) -> str:
    return f"    ... {count} more lines of the stack"


def _messages(lines: Sequence[str], stacks: Sequence[_Stack]) -> list[int]:
    """Return the lines with the message of the newest stack, and the causes that Java names below it."""
    if not stacks:
        return []
    newest = stacks[-1]
    if newest.message_last:
        return [newest.end] if newest.end < len(lines) else []
    frames = {index for stack in stacks for index in range(stack.begin, stack.end)}
    found: list[int] = []
    for index in reversed(range(newest.begin)):
        if index in frames or _HEADING.match(lines[index]):
            continue
        found.append(index)
        if not _CAUSE.match(lines[index]):
            break
    return found[::-1]
