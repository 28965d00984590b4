"""What was read of a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Project:
    """The names of files, and the text of a few small ones. Paths are relative to the release."""

    names: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=dict)
    """The beginnings of the files that the readers want."""
    programs: frozenset[str] = frozenset()
    """Executable files in ELF, the format of compiled programs."""

    def text(self, name: str) -> str:
        """Return the text of a file; "" if it was not read."""
        return self.texts.get(name, "")

    def matching(self, pattern: str) -> list[str]:
        """Return the names that match, those closest to the top first. A * does not match a /."""
        depth = pattern.count("/")
        found = [name for name in self.names if name.count("/") == depth and fnmatchcase(name, pattern)]
        return sorted(found)

    def sources(self, *suffixes: str) -> Iterator[tuple[str, str]]:
        """Yield the files with one of the suffixes that were read, those closest to the top first."""
        for name in sorted(self.texts, key=lambda name: (name.count("/"), name)):
            if name.endswith(suffixes):
                yield name, self.texts[name]
