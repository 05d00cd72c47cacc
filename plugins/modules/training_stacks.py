#!/usr/bin/python
"""Where the ranks of a training on this node stand."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_stacks
short_description: Where the ranks of a training on this node stand
description:
  - Asks every rank of the current run on this node for the stacks of its threads, by SIGUSR1, for which the hook C(failures) registered.
    The training goes on.
options:
  run_dir:
    description: The folder of all runs, whose link C(current) names the latest.
    type: path
    required: true
  user:
    description: The training user, as whom the ranks are asked and their answers read.
    type: str
    required: true
  seconds:
    description: How long to wait for ranks that do not answer.
    type: float
    default: 10
attributes:
  check_mode:
    description: Changes nothing but the files of the stacks.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Ask the ranks where they stand
  ascend.cluster.training_stacks:
    run_dir: /opt/ascend-cluster/runs
    user: ascend
  register: stacks
"""

RETURN = r"""
stacks:
  description: Of each global rank (as text) C(stack) and C(state), as C(ask) in plugins/module_utils/_stacks.py describes them.
  type: dict
  returned: always
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _stacks
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user


def ask(run_dir: str, seconds: float) -> dict[str, Any]:
    """Run as the training user."""
    # The launch script names its folder by the run, not by the link.
    folder = os.path.realpath(os.path.join(run_dir, "current"))
    return {str(rank): one for rank, one in _stacks.ask(folder, seconds).items()}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "seconds": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        stacks = as_user(module.params["user"], ask, module.params["run_dir"], module.params["seconds"])
    except UserError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, stacks=stacks)


if __name__ == "__main__":
    main()
