#!/usr/bin/python

"""Rolls out an app of deployd, or removes it."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.deployd.deployd.plugins.module_utils.command import NO_SUCH_APP, NOTHING_RESTARTED, Command

DOCUMENTATION = r"""
module: deployd_app
short_description: Roll out an app with deployd
description:
  - Has an app run a release with the settings of its app file, without a failed request, and waits for the end.
  - Nothing is done if that is what runs already.
options:
  name:
    description: The app, which has a file in /etc/deployd/apps.
    type: str
    required: true
  state:
    description:
      - C(live) rolls out what the app file says, or deploys the app for the first time.
      - C(absent) stops the app and removes what deployd generated for it. The app file stays.
    type: str
    choices: [live, absent]
    default: live
  release:
    description:
      - The directory of the release. By default the one to which the app file leads, as C(deployd rollout) chooses it.
    type: path
  fleet:
    description:
      - The ID of the rollout in all of the fleet. With the same ID a rollout is attached to, or has the result that it
        has had.
    type: str
  token:
    description:
      - A number that grows with each rollout of the fleet. A lower one than the last is refused. Needed with I(fleet).
    type: int
  supersede:
    description: Replace a rollout that is in progress.
    type: bool
    default: false
author:
  - The authors of deployd
attributes:
  check_mode:
    support: full
    description: Returns what C(deployd plan) says.
  diff_mode:
    support: full
    description: Shows the keys of the app file that change, and the releases.
"""

EXAMPLES = r"""
- name: Roll out version 7
  deployd.deployd.deployd_app:
    name: shop
    release: /srv/shop/releases/v7

- name: Roll out the changed app file
  deployd.deployd.deployd_app:
    name: shop
"""

RETURN = r"""
generation:
  description: The generation that is live.
  type: int
  returned: when known
release:
  description: Its release.
  type: str
  returned: when known
actions:
  description: In check mode, what would be done, in order.
  type: list
  elements: dict
  returned: check mode
result:
  description: The event C(finished), see deployd(1).
  type: dict
  returned: when a rollout was made
"""


CHANGING = ("start", "stop", "freeze", "thaw")
"""Actions of a plan that touch an instance. One that is adopted keeps running."""


def is_changed(plan: dict[str, Any]) -> bool:
    """Return True if a rollout would change more than the number of the generation."""
    acts = any(action.get("action") in CHANGING for action in plan.get("actions", []))
    return acts or bool(plan.get("changes")) or plan.get("from_release") != plan.get("release")


def diff_of(plan: dict[str, Any]) -> dict[str, str]:
    """Return what --diff shows of a plan. deployd hides secret values from all users, and others from some."""
    sides = {side: [f"release: {plan.get(key)}"] for side, key in (("before", "from_release"), ("after", "release"))}
    for change in plan.get("changes", []):
        kind = change.get("change")
        for side, lines in sides.items():
            if kind != ("added" if side == "before" else "removed"):
                value = change.get(side)
                lines.append(f"{change.get('key')}: {f'({kind})' if value is None else value}")
    return {side: "\n".join([*lines, ""]) for side, lines in sides.items()}


class App:
    """The app of `module`."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._params = module.params
        self._name = module.params["name"]
        self._deployd = Command(module)

    def remove(self) -> None:
        """Remove the app, unless nothing is deployed."""
        status, answer, messages = self._deployd.run("status", self._name)
        if status not in (0, NO_SUCH_APP):
            self._deployd.fail(status, answer, messages)
        deployed = status == 0 and answer.get("generation") is not None
        if deployed and not self._module.check_mode:
            self._deployd.remove(self._name)
        self._module.exit_json(changed=deployed)

    def roll_out(self) -> None:
        """Roll out what is not live. In check mode, only say what that would be."""
        plan = self._deployd.must("plan", self._name, *self._release())
        changed, more = is_changed(plan), {"diff": diff_of(plan), "release": plan.get("release")}
        if self._module.check_mode:
            self._module.exit_json(changed=changed, actions=plan.get("actions", []), **more)
        # A rollout of a fleet is always requested, so that an older one is refused from now on.
        if not changed and not self._params["fleet"]:
            self._module.exit_json(changed=False, generation=plan.get("from"), **more)
        verb = "rollout" if plan.get("from") is not None or self._params["fleet"] else "apply"
        options = ["--supersede"] if self._params["supersede"] else []
        status, event, messages = self._deployd.run(verb, self._name, *self._release(), *self._fleet(), *options)
        if status not in (0, NOTHING_RESTARTED):
            self._deployd.fail(status, event, messages)
        more["release"] = event.get("release") or more["release"]
        self._module.exit_json(changed=changed, generation=event.get("generation"), result=event, **more)

    def _release(self) -> list[str]:
        return ["--release", self._params["release"]] if self._params["release"] else []

    def _fleet(self) -> list[str]:
        fleet, token = self._params["fleet"], self._params["token"]
        return ["--fleet", fleet, "--token", str(token)] if fleet else []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["live", "absent"], "default": "live"},
            "release": {"type": "path"},
            "fleet": {"type": "str"},
            "token": {"type": "int", "no_log": False},
            "supersede": {"type": "bool", "default": False},
        },
        required_together=[("fleet", "token")],
        supports_check_mode=True,
    )
    app = App(module)
    if module.params["state"] == "absent":
        app.remove()
    else:
        app.roll_out()


if __name__ == "__main__":
    main()
