"""Help and usage, which need no daemon."""

from __future__ import annotations

import json
import os

import pytest

from deployd import __version__
from deployd_cli.main import main
from deployd_cli.program import COMMANDS, EXAMPLES, options_first

NOUNS = {
    "presets",
    "check",
    "units",
    "plan",
    "status",
    "health",
    "metrics",
    "history",
    "logs",
    "events",
    "compare",
    "preview",
    "wait",
}

ROLLOUT_OPTIONS = {"--no-block", "--supersede", "--json"}

OPTIONS: dict[str, set[str]] = {
    "presets": {"--json"},
    "init": {"--preset", "--release", "--listen", "--instances", "--user", "--output", "--force"},
    "check": {"--json"},
    "units": {"--diff", "--json"},
    "apply": {"--no-start", "--canary", *ROLLOUT_OPTIONS},
    "plan": {"--release", "--canary", "--preview", "--json"},
    "deploy": {"--revision", "--id", "--releases", "--current", "--supersede", "--json"},
    "preview": {"--json"},
    "rollout": {"--release", "--canary", "--preview", *ROLLOUT_OPTIONS},
    "rollback": {"--to", "--past-irreversible", *ROLLOUT_OPTIONS},
    "resume": {"--wait", "--json"},
    "abort": {"--past-irreversible", "--wait", "--json"},
    "restart": ROLLOUT_OPTIONS,
    "scale": ROLLOUT_OPTIONS,
    "status": {"--watch", "--exit-code", "--json"},
    "health": {"--json"},
    "metrics": {"--output", "--serve"},
    "history": {"--before", "--number", "--json"},
    "wait": {"--json"},
    "repair": {"--json"},
    "compare": {"--json"},
    "releases": {"--prune", "--json"},
    "events": {"--json"},
    "logs": {"--generation", "--follow", "--lines", "--since", "--until", "--priority", "--grep", "--output", "--json"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: deployd {command} ")
    assert OPTIONS.get(command, set()) <= set(out.replace(",", " ").split())
    assert "--reload" not in out
    assert "--relay" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_nouns_make_no_changes_and_verbs_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(COMMANDS) > NOUNS
    for command in COMMANDS:
        main([command, "--help"])
        assert ("Changes nothing." in capsys.readouterr().out) == (command in NOUNS), command


def test_the_help_lists_every_command_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    groups = out.split("Show this message and exit.\n")[1].split("\nExamples:\n")[0]
    listed = [line for line in groups.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not [line for line in listed if line.endswith("...")]
    assert max(map(len, out.splitlines())) <= 80


def test_the_examples_are_commands_with_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for line in EXAMPLES.splitlines()[1:]:
        _, command, *words = line.split("   ")[0].split()
        main([command, "--help"])
        assert {word for word in words if word.startswith("-")} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(("typed", "meant"), [("rolout", "rollout"), ("rollbak", "rollback"), ("statsu", "status")])
def test_a_command_that_does_not_exist_is_compared_with_those_that_do(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    assert f'there is no command "{typed}"; did you mean {meant}?\n' in capsys.readouterr().err
    assert main(["xyzzy"]) == 2
    assert 'there is no command "xyzzy"\n' in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-V", "--version"):
        assert main([option]) == 0
        assert capsys.readouterr().out == f"deployd {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["rollout"],
        ["rollout", "demo", "--bogus"],
        ["init"],
        ["init", "deployd", "--preset", "puma", "--output", "-"],
        ["init", "a b", "--preset", "puma", "--output", "-"],
        ["init", "demo", "--preset", "puma", "--output", "-", "--listen", "localhost:80"],
        ["init", "demo", "--preset", "puma", "--output", "-", "--instances", "0"],
        ["scale", "demo"],
        ["scale", "demo", "many"],
        ["scale", "demo", "--", "-1"],
        ["rollback", "demo", "--to", "0"],
        ["rollout", "demo", "--canary", "0"],
        ["plan", "demo", "--canary", "one"],
        ["rollout", "demo", "--canary", "0%"],
        ["apply", "demo", "--canary", "101%"],
        ["weight", "demo", "8"],
        ["weight", "demo", "8", "10"],
        ["weight", "demo", "8", "100.1%"],
        ["weight", "demo", "0", "10%"],
        ["restart", "demo", "--canary", "1"],
        ["logs", "demo", "-n", "x"],
    ],
)
def test_wrong_usage_exits_with_2_and_explains_it_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


def test_wrong_usage_is_an_object_as_well_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "demo", "--json"]) == 2
    out, err = capsys.readouterr()
    assert "requires --wait" in err
    sentence = "Invalid value for --json: requires --wait"
    assert json.loads(out) == {
        "event": "error",
        "error": "InvalidRequest",
        "message": sentence,
        "exit_status": 2,
        "journal": [],
    }


def test_an_argument_that_is_not_utf_8_is_refused_without_a_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "demo", "--release", os.fsdecode(b"/srv/caf\xe9")]) == 2
    assert (
        capsys.readouterr().err
        == "deployd: the argument /srv/caf\\xe9 is not UTF-8; rename the file or app that it names\n"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("status --user shop", "--user status shop"),
        ("status shop --no-ask-password --user", "--no-ask-password --user status shop"),
        ("init shop --user www-data", "init shop --user www-data"),
        ("--user init shop --no-ask-password", "--no-ask-password --user init shop"),
        ("", ""),
    ],
)
def test_options_of_all_commands_may_follow_the_command(given: str, expected: str) -> None:
    assert options_first(given.split()) == expected.split()
