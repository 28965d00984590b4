"""A reader of unit files, command lines and environment files, written from the man pages: the inverse of the escapes.

Not a copy of `deployd.units.text`: where one of the two is wrong, the property tests find them at odds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


class SyntaxProblem(Exception):
    """Raised for text that systemd would complain about."""


def sections(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return a unit file as [(section, [(key, value)])] (systemd.syntax(7)), in order and with duplicates."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for line in logical_lines(text):
        if line.startswith("["):
            if not line.endswith("]"):
                raise SyntaxProblem(f"bad section header {line!r}")
            found.append((line[1:-1], []))
        elif "=" not in line or not found:
            raise SyntaxProblem(f"neither a section nor an assignment: {line!r}")
        else:
            key, _, value = line.partition("=")
            found[-1][1].append((key.rstrip(" \t"), value.lstrip(" \t")))
    return found


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines without comments, joined after a backslash; CR and NUL end a line as LF does."""
    pending = ""
    for raw in re.split(r"[\n\r\0]", text):
        line = raw.lstrip(" \t")
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        # A backslash escapes the next one: only an odd number of them at the end joins lines.
        ending = re.search(r"\\*$", raw)
        if ending and len(ending[0]) % 2:
            pending += raw[:-1] + " "
            continue
        whole = (pending + raw).strip(" \t")
        pending = ""
        if whole:
            yield whole
    if pending:
        raise SyntaxProblem("the file ends in a backslash")


def expand(text: str, instance: str) -> str:
    """Expand specifiers (systemd.unit(5)). deployd writes ``%i`` and ``%%`` only."""

    def one(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] == "i":
            return instance
        raise SyntaxProblem(f"the specifier %{match[1]} in {text!r}")

    return re.sub(r"%(.?)", one, text, flags=re.DOTALL)


def meaning(value: str, *, expands: bool, command: bool) -> list[str]:
    """Return what systemd makes of the value of a directive: its literal characters, specifiers and variables."""
    pattern = "|".join(
        [r"%%|%[0-9A-Za-z]"] * expands + [r"\$\$|\$\{[^}]*\}|\$[A-Za-z_][A-Za-z0-9_]*"] * command + [r"."]
    )
    literal = {"%%": "%", "$$": "$"} if command else {"%%": "%"}
    return [literal.get(item, item) if len(item) > 1 else item for item in re.findall(pattern, value, re.DOTALL)]


def words(line: str, instance: str) -> list[str]:
    """Split, unquote and expand a command line (systemd.service(5), "Command lines")."""
    found: list[str] = []
    position = 0
    while position < len(line):
        if line[position] in " \t":
            position += 1
            continue
        word, quote = "", ""
        while position < len(line) and (quote or line[position] not in " \t"):
            character = line[position]
            position += 1
            if character == "\\":
                escaped = line[position : position + 1]
                if escaped not in ("\\", '"', "'", " "):
                    raise SyntaxProblem(f"the escape \\{escaped} in {line!r}")
                word += escaped
                position += 1
            elif quote and character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            else:
                word += character
        if quote:
            raise SyntaxProblem(f"unbalanced quotes in {line!r}")
        found.append(word)
    return [variables(expand(word, instance)) for word in found]


def variables(word: str) -> str:
    """Replace ``$$`` by a dollar sign. Any other dollar sign would expand a variable."""
    if re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word):
        raise SyntaxProblem(f"a variable in {word!r}")
    return word.replace("$$", "$")


def environment_file(text: str) -> dict[str, str]:
    """Read an EnvironmentFile= (systemd.exec(5)), by the rules of double-quoted values only."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        if text[position] in " \t\n\r":
            position += 1
        elif text[position] in "#;":
            comment = re.compile(r"(?:[^\\\n\r]|\\[^\n\r])*").match(text, position)
            assert comment
            position = comment.end()
            if text[position : position + 1] == "\\":
                raise SyntaxProblem("a comment that ends in a backslash swallows the next line before v254")
        else:
            match = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="').match(text, position)
            if not match:
                raise SyntaxProblem(f"not an assignment: {text[position : position + 40]!r}")
            found[match[1]], position = quoted(text, match.end())
            if text[position : position + 1] not in ("\n", ""):
                raise SyntaxProblem(f"something follows the value of {match[1]}")
    return found


def quoted(text: str, position: int) -> tuple[str, int]:
    """Return the text between double quotes, from the first, and the position after the last."""
    value = ""
    while position < len(text):
        character = text[position]
        position += 1
        if character == '"':
            return value, position
        if character == "\\":
            escaped = text[position : position + 1]
            position += 1
            value += escaped if escaped in '"\\`$' else "" if escaped == "\n" else "\\" + escaped
        else:
            value += character
    raise SyntaxProblem("unbalanced quotes")
