"""Which preset fits a release. Pure: facts and presets to proposals, best first, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployd_cli.presets.facts import Facts
from deployd_cli.presets.preset import Preset, Rule
from deployd_cli.presets.project import Project

VALUES = {
    "asgi": "has an ASGI application",
    "wsgi": "has a WSGI application",
    "tornado_script": "starts Tornado",
    "program": "is an executable program",
    "jar": "is a Java archive",
    "script": "names a script",
    "start": "has a start command",
    "command": "has a start command",
}
MARKS = {
    "takes-socket": "takes the socket that systemd passes",
    "notifies": "sends READY=1",
    "reads-port": "reads $PORT",
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A preset that fits, and why, as a clause such as "Gemfile.lock names puma 6.4.2"."""

    preset: Preset
    rank: int
    reason: str


def proposals(project: Project, facts: Facts, presets: Iterable[Preset]) -> list[Proposal]:
    """Return a proposal for each preset of which a rule holds, best first."""
    found = []
    for preset in presets:
        held = [(rule.rank, reason) for rule in preset.rules if (reason := _reason(rule, project, facts))]
        if held:
            rank, reason = max(held, key=lambda item: item[0])
            found.append(Proposal(preset, rank, reason))
    return sorted(found, key=lambda proposal: (-proposal.rank, proposal.preset.name))


def _reason(rule: Rule, project: Project, facts: Facts) -> str:
    """Return why a rule holds; "" if it does not."""
    clauses: list[str] = []
    for key in rule.packages:
        package = facts.package(key)
        clauses.append(f"{package.file} names {package.shown}" if package else "")
    if rule.file:
        names = project.matching(rule.file)
        clauses.append(f"the release has {names[0]}" if names else "")
    if rule.command:
        command = next((command for command in facts.commands if command.has(rule.command)), None)
        clauses.append(f"{command.file} starts {' '.join(rule.command)}" if command else "")
    if rule.value:
        value = facts.values.get(rule.value)
        clauses.append(f"{value.file} {VALUES.get(rule.value, f'says {rule.value}')}" if value else "")
    if rule.mark:
        file = facts.marks.get(rule.mark)
        clauses.append(f"{file} {MARKS.get(rule.mark, f'shows {rule.mark}')}" if file else "")
    return " and ".join(clauses) if all(clauses) else ""
