"""What is known of a release: dependencies, start commands, values for templates, and what was not understood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Content = str | tuple[str, ...] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Package:
    """A dependency."""

    key: str
    """``ECOSYSTEM:NAME``, in lower case."""
    version: str
    """"" if the file does not say."""
    file: str

    @property
    def shown(self) -> str:
        name = self.key.partition(":")[2]
        return f"{name} {self.version}" if self.version else name


@dataclass(frozen=True, slots=True)
class Command:
    """A command with which the project says it is started."""

    words: tuple[str, ...]
    """Its argv, without assignments before it; of one that only a shell understands, what a shell would split."""
    file: str
    shell: str = ""
    """Its text, if it needs a shell."""

    def has(self, words: Iterable[str]) -> bool:
        """True if the first of `words` is a program of this command and the others are words, or values of options."""
        program, *others = words
        names = {word.rpartition("/")[2] for word in self.words}
        return program in names and all(self._has(word) for word in others)

    def _has(self, wanted: str) -> bool:
        return any(word == wanted or word.endswith((f"={wanted}", f"-k{wanted}")) for word in self.words)


@dataclass(frozen=True, slots=True)
class Process:
    """A further process type of the app: a worker, a clock."""

    name: str
    """As in [process.NAME]."""
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A value for templates, and the file that says it."""

    content: Content
    file: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What one reader says, or all of them."""

    packages: tuple[Package, ...] = ()
    commands: tuple[Command, ...] = ()
    values: Mapping[str, Found] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    """Properties of the source code, and the file that shows each: ``takes-socket``, ``notifies``, ``reads-port``."""
    processes: tuple[Process, ...] = ()
    before: Command | None = None
    """What is to run once in each new release before anything changes."""
    unclear: tuple[str, ...] = ()
    """Sentences about what was not understood, or is not taken over."""

    def package(self, key: str) -> Package | None:
        return next((package for package in self.packages if package.key == key), None)

    def ecosystems(self) -> set[str]:
        """Return the languages whose dependencies are known."""
        return {package.key.partition(":")[0] for package in self.packages}


def combined(parts: Iterable[Facts]) -> Facts:
    """Return the facts of all readers; of two values for the same name, the first."""
    parts = list(parts)
    values: dict[str, Found] = {}
    marks: dict[str, str] = {}
    for part in parts:
        for name, found in part.values.items():
            values.setdefault(name, found)
        for mark, file in part.marks.items():
            marks.setdefault(mark, file)
    return Facts(
        packages=tuple(package for part in parts for package in part.packages),
        commands=tuple(command for part in parts for command in part.commands),
        values=values,
        marks=marks,
        processes=next((part.processes for part in parts if part.processes), ()),
        before=next((part.before for part in parts if part.before), None),
        unclear=tuple(dict.fromkeys(sentence for part in parts for sentence in part.unclear)),
    )
