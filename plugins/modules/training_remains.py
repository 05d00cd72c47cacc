#!/usr/bin/python
"""What is left of a training on this node."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_remains
short_description: What is left of a training on this node
description:
  - Looks for the training's unit, for processes of its runs, and for processes that hold an NPU open; ends those of the runs where it is asked to.
  - Processes of a run are known by their environment, so that those of a launch script run by hand are found too. Only processes of the training user are
    ended, as that user.
options:
  unit:
    description: The systemd unit of the training.
    type: str
    required: true
  run_dir:
    description: The folder of all runs.
    type: path
    required: true
  user:
    description: The training user.
    type: str
    required: true
  end:
    description: End the processes of the runs, by SIGTERM, and after O(grace_seconds) by SIGKILL.
    type: bool
    default: false
  grace_seconds:
    description: See O(end).
    type: float
    default: 120
attributes:
  check_mode:
    description: Looks only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: End what is left of a run
  ascend.cluster.training_remains:
    unit: ascend-pretrain.service
    run_dir: /opt/ascend-cluster/runs
    user: ascend
    end: true
  register: remains
"""

RETURN = r"""
words:
  description: What is left, in words; empty where nothing is.
  type: str
  returned: always
ended:
  description: The processes that were ended, in words.
  type: list
  elements: str
  returned: always
others:
  description: NPUs that processes of other users hold, in words.
  type: list
  elements: str
  returned: always
verdict:
  description: How the latest run ended, by the word of its supervisor; empty where it has none.
  type: str
  returned: always
"""

import contextlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _processes, _remains
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, account, as_user

ACTIVE = ("active", "activating", "deactivating", "reloading")


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "end": {"type": "bool", "default": False},
            "grace_seconds": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    found: dict[str, Any] = {"ended": [], "left": []}
    verdict, uid = "", -1
    with contextlib.suppress(UserError):  # before the first run there is no such user, and nothing of its
        uid = account(wanted["user"]).pw_uid
    try:
        if uid >= 0:
            if wanted["end"] and not module.check_mode:
                found = as_user(wanted["user"], _remains.end, wanted["run_dir"], wanted["grace_seconds"])
            verdict = as_user(wanted["user"], _remains.verdict, wanted["run_dir"])
    except UserError as error:
        module.fail_json(msg=str(error))
    _, state, _ = module.run_command(["systemctl", "is-active", wanted["unit"]])
    said = [f"{wanted['unit']} is {state.strip()} (`systemctl status {wanted['unit']}` there tells why)"] if state.strip() in ACTIVE else []
    left = [_remains.words(pid) for pid in _remains.of_runs(wanted["run_dir"])]
    if left:
        said.append(f"processes of a run live: {', '.join(left[:8])}" + (
            "; SIGKILL did not end them: a driver holds them, reboot the node" if found["left"] else "; end them (kill)"))
    ours: list[str] = []
    others: list[str] = []
    for pid, device in _processes.holders():
        try:
            (ours if os.stat(f"/proc/{pid}").st_uid == uid else others).append(f"{device} by {_remains.words(pid)}")
        except FileNotFoundError:
            continue
    if ours:
        said.append(f"NPUs are held: {', '.join(ours[:8])}: end these processes (kill)")
    module.exit_json(changed=bool(found["ended"]), words="; ".join(said), ended=found["ended"], others=others, verdict=verdict)


if __name__ == "__main__":
    main()
