#!/usr/bin/python
"""What the training on this node is doing."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_state
short_description: What the training on this node is doing
description:
  - Reads the state of the training's systemd unit, and how the run ended. Changes nothing.
  - With O(wait_seconds) it answers as soon as the unit ends.
options:
  unit:
    description: The systemd unit of the training.
    type: str
    required: true
  run_dir:
    description: The folder of all runs, whose link C(current) names the latest.
    type: path
    required: true
  user:
    description: The training user, whose rights alone are used for reading what lies in its folder of runs.
    type: str
    required: true
  run_id:
    description: The run to tell of; the current one when left out.
    type: str
  wait_seconds:
    description: Wait at most this long for an active unit to end.
    type: float
    default: 0
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Ask for a job in progress
  ascend.cluster.training_state:
    unit: ascend-pretrain.service
    run_dir: /opt/ascend-cluster/runs
    user: ascend
  register: state
"""

RETURN = r"""
active:
  description: Whether the unit is running, starting or stopping.
  type: bool
  returned: always
active_state:
  description: The unit's ActiveState.
  type: str
  returned: always
exec_main_status:
  description: Exit status of the unit's main process, or the signal that ended it.
  type: int
  returned: always
current_run:
  description: The run that C(current) names, empty when there is none.
  type: str
  returned: always
result:
  description: C(status) (succeeded, failed, stopped), C(reason), C(last_iteration) and C(finished) of the run, empty while it has not ended.
  type: dict
  returned: always
log:
  description: Path of the run's log.
  type: str
  returned: always
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _runs
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, account, as_user

ACTIVE = ("active", "activating", "deactivating", "reloading")
PROPERTIES = "ActiveState,SubState,ExecMainStatus,Result"


def unit_state(module: AnsibleModule, unit: str) -> dict[str, str]:
    """The unit's properties by `systemctl show`; an unknown unit is inactive."""
    rc, out, err = module.run_command(["systemctl", "show", "--property", PROPERTIES, unit],
                                      environ_update={"TZ": "UTC", "LC_ALL": "C"})
    if rc != 0:
        module.fail_json(msg=f"systemctl show {unit} failed with status {rc}: {err.strip() or out.strip()}. "
                             "The training is run by systemd: is it this node's init?")
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def current_run(run_dir: str) -> str:
    """The run that the link `current` names, "" when there is none."""
    try:
        return os.path.basename(os.readlink(os.path.join(run_dir, "current")))
    except OSError:
        return ""


def is_there(user: str) -> bool:
    """Whether a node has its training user already: before, it has no runs."""
    try:
        return bool(account(user))
    except UserError:
        return False


def look(run_dir: str, run_id: str) -> dict[str, Any]:
    """Run as the training user, who can plant links in its folders: which run is current, and the log and result of the one asked for."""
    current = current_run(run_dir)
    log = os.path.join(run_dir, run_id or current or "none", "train.log")
    return {"current": current, "log": log, "result": _runs.launcher_result(os.path.dirname(log))}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "wait_seconds": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    deadline = time.monotonic() + wanted["wait_seconds"]
    known = is_there(wanted["user"])
    seen = {"current": "", "log": os.path.join(wanted["run_dir"], wanted["run_id"] or "none", "train.log"), "result": {}}
    try:
        while True:
            state = unit_state(module, wanted["unit"])
            active = state.get("ActiveState", "inactive") in ACTIVE
            if known:
                seen = as_user(wanted["user"], look, wanted["run_dir"], wanted["run_id"])
            if not active or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
    except UserError as error:
        module.fail_json(msg=str(error))
    status = state.get("ExecMainStatus", "0")
    module.exit_json(
        changed=False,
        active=active,
        active_state=state.get("ActiveState", "inactive"),
        exec_main_status=int(status) if status.isdigit() else -1,
        current_run=seen["current"],
        result=seen["result"],
        log=seen["log"],
    )


if __name__ == "__main__":
    main()
