#!/usr/bin/python
"""What the training on this node is doing."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_state
short_description: What the training on this node is doing
description:
  - Reads the state of the training's systemd unit, how the run ended, and what its log has gained. Changes nothing.
  - With O(wait_seconds) it answers as soon as the unit ends, so that a follower learns of it at once.
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
  log_offset:
    description: Return what the log holds from this byte on; nothing when negative.
    type: int
    default: -1
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
log_text:
  description: Whole lines of the log from O(log_offset) on, at most 256 KiB.
  type: str
  returned: always
log_offset:
  description: The byte to ask for next.
  type: int
  returned: always
ended_at:
  description: When the unit's main process ended, seconds since 1970 by the node's clock, 0 when unknown.
  type: float
  returned: always
clock:
  description: The node's clock when the module began and when it was done, seconds since 1970; who asks can tell its offset by that.
  type: list
  elements: float
  returned: always
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, account, as_user

ACTIVE = ("active", "activating", "deactivating", "reloading")
CHUNK = 256 * 1024
PROPERTIES = "ActiveState,SubState,ExecMainStatus,ExecMainExitTimestamp,Result"


def unit_state(module: AnsibleModule, unit: str) -> dict[str, str]:
    """The unit's properties by `systemctl show`; an unknown unit is inactive."""
    rc, out, err = module.run_command(["systemctl", "show", "--property", PROPERTIES, unit],
                                      environ_update={"TZ": "UTC", "LC_ALL": "C"})
    if rc != 0:
        module.fail_json(msg=f"systemctl show {unit} failed with status {rc}: {err.strip() or out.strip()}. "
                             "The training is run by systemd: is it this node's init?")
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def exit_time(stamp: str) -> float:
    """Seconds since 1970 of systemd's `Mon 2026-11-23 20:00:00 UTC`, 0 when it is empty."""
    try:
        import calendar
        return float(calendar.timegm(time.strptime(stamp, "%a %Y-%m-%d %H:%M:%S UTC")))
    except ValueError:
        return 0.0


def current_run(run_dir: str) -> str:
    """The run that the link `current` names, "" when there is none."""
    try:
        return os.path.basename(os.readlink(os.path.join(run_dir, "current")))
    except OSError:
        return ""


def read_result(path: str) -> dict[str, str]:
    """The key=value lines of a result file, {} when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError:
        return {}


def read_from(path: str, offset: int) -> tuple[str, int]:
    """Whole lines of a file from a byte on, and the byte to go on from. A shorter file starts anew."""
    try:
        with open(path, "rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                offset = 0
            file.seek(offset)
            data = file.read(CHUNK)
    except OSError:
        return "", offset
    data = data[:data.rfind(b"\n") + 1] or (data if len(data) == CHUNK else b"")
    return data.decode("utf-8", "replace"), offset + len(data)


def is_there(user: str) -> bool:
    """Whether a node has its training user already: before, it has no runs."""
    try:
        return bool(account(user))
    except UserError:
        return False


def look(run_dir: str, run_id: str) -> dict[str, Any]:
    """Run as the training user, who can plant links in its folders: which run is current, and the log of the one asked for (size -1: none)."""
    current = current_run(run_dir)
    log = os.path.join(run_dir, run_id or current or "none", "train.log")
    return {"current": current, "log": log, "size": os.path.getsize(log) if os.path.exists(log) else -1}


def read(log: str, offset: int) -> dict[str, Any]:
    """Run as the training user: how the run ended, and what its log holds from `offset` on."""
    text, end = read_from(log, offset) if offset >= 0 else ("", -1)
    return {"text": text, "offset": end, "result": read_result(os.path.join(os.path.dirname(log), "result"))}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "log_offset": {"type": "int", "default": -1},
            "wait_seconds": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    began = time.time()
    deadline = time.monotonic() + wanted["wait_seconds"]
    known = is_there(wanted["user"])
    seen = {"current": "", "log": os.path.join(wanted["run_dir"], wanted["run_id"] or "none", "train.log"), "size": -1}
    found = {"text": "", "offset": wanted["log_offset"], "result": {}}
    try:
        while True:
            state = unit_state(module, wanted["unit"])
            active = state.get("ActiveState", "inactive") in ACTIVE
            if known:
                seen = as_user(wanted["user"], look, wanted["run_dir"], wanted["run_id"])
            # A follower that lags behind gets its next part at once.
            behind = wanted["log_offset"] >= 0 and seen["size"] - wanted["log_offset"] >= CHUNK
            if not active or behind or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        if known:
            found = as_user(wanted["user"], read, seen["log"], wanted["log_offset"])
    except UserError as error:
        module.fail_json(msg=str(error))
    status = state.get("ExecMainStatus", "0")
    module.exit_json(
        changed=False,
        active=active,
        active_state=state.get("ActiveState", "inactive"),
        exec_main_status=int(status) if status.isdigit() else -1,
        current_run=seen["current"],
        result=found["result"],
        log=seen["log"],
        log_text=found["text"],
        log_offset=found["offset"],
        ended_at=exit_time(state.get("ExecMainExitTimestamp", "")),
        clock=[began, time.time()],
    )


if __name__ == "__main__":
    main()
