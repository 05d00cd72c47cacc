#!/usr/bin/python
"""The runs that there are on the master."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_runs
short_description: The runs that there are on the master
description:
  - Reads the folder of runs, in one execution for any number of nodes, and asks the supervisors of the current run. Changes nothing.
options:
  python:
    description: The Python that runs the supervisor.
    type: path
    required: true
  program:
    description: The supervisor.
    type: path
    required: true
  run_dir:
    description: The folder of all runs.
    type: path
    required: true
  user:
    description: The training user, whose rights alone are used.
    type: str
    required: true
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Look which runs there are
  ascend.cluster.training_runs:
    python: /opt/ascend-cluster/conda/envs/test/bin/python
    program: /opt/ascend-cluster/bin/supervise
    run_dir: /opt/ascend-cluster/runs
    user: ascend
  register: answer
"""

RETURN = r"""
runs:
  description: Of each run C(run), C(current), C(state) (succeeded, failed, stopped, that of its supervisors, or unknown), C(iteration), C(total),
    C(first_loss), C(loss), C(began) and C(ended) (seconds since 1970), C(restarts) and C(culprit).
  type: list
  elements: dict
  returned: always
moment:
  description: The node's clock, seconds since 1970.
  type: float
  returned: always
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _runs
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "program": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    try:
        runs = as_user(wanted["user"], _runs.runs, wanted["python"], wanted["program"], wanted["run_dir"])
    except UserError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, runs=runs, moment=time.time())


if __name__ == "__main__":
    main()
