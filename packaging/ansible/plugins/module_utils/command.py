"""Calls the command deployd on the host, and reads its JSON."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

MEANINGS = {
    1: "failed",
    2: "used in a wrong way",
    3: "refused",
    4: "there is no such app",
    5: "the daemon does not answer",
    6: "nothing was restarted",
}
"""Exit statuses of deployd(1)."""
NO_SUCH_APP = 4
NOTHING_RESTARTED = 6

Json = dict[str, Any]


class Command:
    """deployd on the host of `module`."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._program = module.get_bin_path("deployd", required=True)

    def run(self, *arguments: str) -> tuple[int, Json, str]:
        """Return the exit status, the JSON object that was printed last ({} for none), and the messages."""
        status, out, err = self._module.run_command([self._program, "--no-ask-password", *arguments, "--json"])
        return status, _last(out), _messages(err)

    def must(self, *arguments: str) -> Json:
        """Return the JSON object. Fails the module with what deployd says."""
        status, answer, messages = self.run(*arguments)
        if status:
            self.fail(status, answer, messages)
        return answer

    def remove(self, app: str) -> None:
        """Remove an app. Fails the module with what deployd says."""
        status, _, err = self._module.run_command([self._program, "--no-ask-password", "remove", app])
        if status:
            self.fail(status, {}, _messages(err))

    def fail(self, status: int, answer: Json, messages: str) -> NoReturn:
        """Fail the module."""
        meaning = MEANINGS.get(status, f"failed with exit status {status}")
        self._module.fail_json(msg=messages or meaning, status=status, meaning=meaning, result=answer)
        raise AssertionError  # fail_json ends the process


def _last(text: str) -> Json:
    """Return the last line that is a JSON object, or the whole text if it is one."""
    for part in (*reversed(text.strip().splitlines()), text):
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _messages(text: str) -> str:
    """Return the messages of deployd without the prefix of each."""
    return "\n".join(line.removeprefix("deployd: ") for line in text.strip().splitlines())
