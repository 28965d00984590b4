#!/usr/bin/python

"""Facts about the apps of deployd."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.deployd.deployd.plugins.module_utils.command import Command

DOCUMENTATION = r"""
module: deployd_info
short_description: Gather the state of apps of deployd
description:
  - Returns the status of one app or of all apps, as C(deployd status --json) prints it.
options:
  name:
    description: The app. All apps if it is left out.
    type: str
author:
  - The authors of deployd
attributes:
  check_mode:
    support: full
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: What runs
  deployd.deployd.deployd_info:
    name: shop
  register: shop

- name: All instances are ready
  ansible.builtin.assert:
    that: shop.apps[0].ready >= shop.apps[0].desired
"""

RETURN = r"""
apps:
  description: The status of each app, see deployd(1).
  type: list
  elements: dict
  returned: always
drain:
  description: Why load balancers are to send clients to other hosts, or null. Only without I(name).
  type: dict
  returned: always
"""


def main() -> None:
    module = AnsibleModule(argument_spec={"name": {"type": "str"}}, supports_check_mode=True)
    name = module.params["name"]
    answer = Command(module).must("status", *([name] if name else []))
    if name:
        module.exit_json(changed=False, apps=[answer], drain=None)
    module.exit_json(changed=False, apps=answer.get("apps", []), drain=answer.get("drain"))


if __name__ == "__main__":
    main()
