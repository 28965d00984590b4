"""A plain object as it is written in JavaScript: JSON with comments, unquoted keys, single quotes, trailing commas."""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skipped>\s+|//[^\n]*|/\*.*?\*/)"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`$\\]*`)"""
    r"""|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))"""
    r"""|(?P<word>[A-Za-z_$][\w$]*)"""
    r"""|(?P<sign>[{}\[\]:,])""",
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None, "undefined": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
DEEPEST = 20


class NotPlain(Exception):
    """The text has something else; ``line`` says where."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__()
        self.line = text.count("\n", 0, position) + 1


def parse(text: str, position: int = 0) -> Any:
    """Return the value that begins at `position`. Raises NotPlain."""
    return _Parser(text, position).value(0)


class _Parser:
    def __init__(self, text: str, position: int) -> None:
        self._text, self._position = text, position

    def _next(self) -> tuple[str, str]:
        while True:
            found = _TOKEN.match(self._text, self._position)
            if found is None:
                raise NotPlain(self._text, self._position)
            self._position = found.end()
            if found.lastgroup and found.lastgroup != "skipped":
                return found.lastgroup, found[0]

    def value(self, depth: int) -> Any:
        kind, found = self._next()
        if depth <= DEEPEST:
            if kind == "string":
                return _unquoted(found)
            if kind == "number":
                return float(found) if "." in found else int(found)
            if kind == "word" and found in _WORDS:
                return _WORDS[found]
            if found == "[":
                return self._array(depth)
            if found == "{":
                return self._object(depth)
        raise NotPlain(self._text, self._position)

    def _array(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self._closes("]"):
            items.append(self.value(depth + 1))
            if self._closes("]", after_item=True):
                break
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not self._closes("}"):
            kind, key = self._next()
            if kind not in ("string", "word", "number") or self._next()[1] != ":":
                raise NotPlain(self._text, self._position)
            items[_unquoted(key) if kind == "string" else key] = self.value(depth + 1)
            if self._closes("}", after_item=True):
                break
        return items

    def _closes(self, bracket: str, *, after_item: bool = False) -> bool:
        """True if the bracket comes next, which is read then. After an item there is a comma otherwise."""
        before = self._position
        found = self._next()[1]
        if found == bracket:
            return True
        if after_item and found != ",":
            raise NotPlain(self._text, self._position)
        if not after_item:
            self._position = before
        return False


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1], flags=re.DOTALL)
