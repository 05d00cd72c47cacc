#!/usr/bin/python
"""How a run stands, by the supervisors of its nodes."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_status
short_description: How a run stands, by the supervisors of its nodes
description:
  - Asks the run's supervisors by C(supervise ask status) on this node, as the training user; docs/run.md describes the answer. The hub is asked,
    whichever node this is; where it does not answer, this node's supervisor or files tell what they know. Changes nothing.
  - Costs the same for any number of nodes. With O(wait_seconds) it answers as soon as there is news.
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
    description: The folder of all runs, whose link C(current) names the latest.
    type: path
    required: true
  user:
    description: The training user, who alone can ask, and whose rights alone are used.
    type: str
    required: true
  run_id:
    description: The run to ask about; the current one when left out.
    type: str
  full:
    description: Every node, not only those to look at first.
    type: bool
    default: false
  after:
    description: With the lines of the log after this one; with none when negative.
    type: int
    default: -1
  known:
    description: C(epoch), C(state) and C(generation) of an earlier answer; news is what differs from it, or lines.
    type: dict
    default: {}
  wait_seconds:
    description: Wait at most this long for news.
    type: float
    default: 0
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Ask how the training stands
  ascend.cluster.training_status:
    python: /opt/ascend-cluster/conda/envs/test/bin/python
    program: /opt/ascend-cluster/bin/supervise
    run_dir: /opt/ascend-cluster/runs
    user: ascend
    full: true
  register: answer
"""

RETURN = r"""
run_id:
  description: The run that was asked about, "" where there is none.
  type: str
  returned: always
status:
  description: The answer, {} where nobody can tell.
  type: dict
  returned: always
error:
  description: Why nobody can tell, "" where somebody did.
  type: str
  returned: always
absent:
  description: That this node knows no such run.
  type: bool
  returned: when it knows none
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _ask
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "program": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "full": {"type": "bool", "default": False},
            "after": {"type": "int", "default": -1},
            "known": {"type": "dict", "default": {}},
            "wait_seconds": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    words = (["--full"] if wanted["full"] else []) + (["--after", str(wanted["after"])] if wanted["after"] >= 0 else [])
    try:
        answer = as_user(wanted["user"], _ask.ask, wanted["python"], wanted["program"], wanted["run_dir"], wanted["run_id"], words, wanted["known"],
                         wanted["wait_seconds"])
    except UserError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
