"""Chooses a preset for a release, and says why and what to look at."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import Refused
from deployd_cli.presets.catalog import Catalog
from deployd_cli.presets.detection import proposals
from deployd_cli.presets.facts import Facts
from deployd_cli.presets.installed import with_programs
from deployd_cli.presets.preset import Preset
from deployd_cli.presets.readers import facts_of
from deployd_cli.presets.release_files import read

LOOKED_FOR = "Procfile, Gemfile, package.json, pyproject.toml, requirements.txt, go.mod, composer.json and others"
MOST_INSTANCES = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """A preset, and what is known of the release."""

    preset: Preset
    reason: str
    """Why it was chosen; "" if the user named it and nothing in the release says so."""
    facts: Facts
    others: tuple[tuple[str, str], ...] = ()
    """Other presets that fit, with their reasons."""
    unreadable: str = ""

    def lines(self, used: Collection[str]) -> Iterator[str]:
        """Yield sentences: why this preset, which others fit, and what to look at of the `used` values."""
        yield f"preset {self.preset.name} ({self.preset.title})" + (f": {self.reason}" if self.reason else "")
        if self.others:
            yield "also possible: " + "; ".join(f"--preset {name} ({reason})" for name, reason in self.others)
        if self.unreadable:
            yield f"nothing of the release was read: {self.unreadable}"
        for name, guess in self.preset.guesses.items():
            found = self.facts.values.get(name)
            if name not in used:
                continue
            if found is None:
                value = f"{guess.default} is a guess" if guess.default else "none was found"
                yield f"look at {name}: {value}; it should be {guess.what}"
            elif isinstance(found.content, str) and found.content != found.file:
                yield f"{name} is {found.content}, from {found.file}"
        for process in self.facts.processes:
            yield f"process {process.name} is from {process.command.file}; look at its gate, and at how it stops"
        if self.facts.before is not None:
            yield f"before in [rollout.hooks] is the release command of {self.facts.before.file}"
        yield from self._missing()
        yield from self.facts.unclear
        yield f"its limits and notes: deployd presets {self.preset.name}"

    def _missing(self) -> Iterator[str]:
        """Yield a sentence if the dependencies are known and the server is not one of them."""
        wanted = self.preset.requires
        relevant = [key for key in wanted if key.partition(":")[0] in self.facts.ecosystems()]
        if relevant and not any(self.facts.package(key) for key in wanted):
            names = " or ".join(key.partition(":")[2] for key in relevant)
            yield f"look at the dependencies: none of them is {names}, which exec needs"


def choose(catalog: Catalog, release: Path, name: str) -> Choice:
    """Return the preset `name`, or the best one for the release. Raises Refused if there is none."""
    wanted = catalog.get(name) if name else None
    try:
        project = read(release)
    except Refused as error:
        if wanted is None:
            raise
        unreadable = str(error).partition(";")[0]
        return Choice(wanted, "", with_programs(Facts(), wanted), unreadable=unreadable)
    facts = facts_of(project)
    found = proposals(project, facts, catalog.presets.values())
    if wanted is None and not found:
        raise Refused(
            f"nothing in {release} says which server it runs ({LOOKED_FOR} were looked for); name a preset with"
            " --preset, deployd presets lists them"
        )
    best = wanted or found[0].preset
    reason = next((proposal.reason for proposal in found if proposal.preset is best), "")
    others = tuple((item.preset.name, item.reason) for item in found if item.preset is not best)
    return Choice(best, reason, with_programs(facts, best), () if wanted else others[:3])


def instances(choice: Choice, processors: int) -> int:
    """Return the number of instances to propose."""
    found = choice.facts.values.get("instances")
    if found is not None and isinstance(found.content, str) and found.content.isdecimal():
        return int(found.content)
    return choice.preset.instances or max(2, min(processors, MOST_INSTANCES))
