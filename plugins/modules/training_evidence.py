#!/usr/bin/python
"""What the logs of a training on this node tell of its end."""
from __future__ import annotations

DOCUMENTATION = r"""
module: training_evidence
short_description: What the logs of a training on this node tell of its end
description:
  - Searches the whole logs of all ranks on this node, in bounded time and memory, and returns what they show, by rank and with its role;
    see plugins/module_utils/_evidence.py. Changes nothing.
  - What the node's supervisor has found so when a start had ended, and kept, is not searched for again.
  - Reads the journal of the kernel and of the unit for processes that were killed.
  - On the controller an action plugin of the same name adds C(clock) and C(error); a node that is not reached is an answer, and no failure.
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
    description: The training user, whose rights alone are used for reading what lies in its folder of runs.
    type: str
    required: true
  run_id:
    description: The run to tell of.
    type: str
    required: true
  node_rank:
    description: Rank of this node.
    type: int
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
  generation:
    description: The start of the run to tell of; without it the newest.
    type: int
  seconds:
    description: After so long only the ends of what is left to read are searched.
    type: float
    default: 60
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Read why it failed
  ascend.cluster.training_evidence:
    unit: ascend-pretrain.service
    run_dir: /opt/ascend-cluster/runs
    user: ascend
    run_id: 0123456789ab
    node_rank: 0
    nproc_per_node: 8
  register: evidence
"""

RETURN = r"""
evidence:
  description: >-
    C(ranks), C(node), C(journal), C(tail), C(first_observed), C(searched) and C(left_out), as C(Collector.collect) in
    plugins/module_utils/_evidence.py describes them.
  type: dict
  returned: always
result:
  description: C(status) (succeeded, failed, stopped) and C(reason) as the launch script left them here, {} where it left none.
  type: dict
  returned: always
log:
  description: Path of the run's log.
  type: str
  returned: always
began_done:
  description: The node's clock when the module began and when it was done, seconds since 1970.
  type: list
  elements: float
  returned: always
clock:
  description: Bounds C(low) and C(high) of the node's clock less the controller's, in seconds.
  type: dict
  returned: always
lives:
  description: Whether a process of a run lives on this node.
  type: bool
  returned: always
error:
  description: Why there is no evidence of this node, "" where there is.
  type: str
  returned: always
"""

import contextlib
import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _evidence, _remains, _runs
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user

JOURNAL_LINES = 400
#: bytes of what a supervisor may have kept
LONGEST = 16 << 20
FOUND = {"ranks", "node", "first_observed", "searched", "left_out", "tail"}


def journal(module: AnsibleModule, since: float, *words: str) -> str:
    """Lines of the journal since a moment; "" where there is none."""
    _, out, _ = module.run_command(["journalctl", *words, f"--since=@{int(since)}", f"--lines={JOURNAL_LINES}", "--output=cat", "--no-pager", "--quiet"],
                                   handle_exceptions=False, environ_update={"LC_ALL": "C"})
    return str(out)


def begin(folder: str) -> float:
    """When the run began, seconds since 1970; an hour ago where nobody can tell. Run as the training user."""
    try:
        # Made by the launch script, and changed once, when torchrun begins.
        return os.stat(os.path.join(folder, "ranks")).st_mtime - 60
    except OSError:
        return time.time() - 3600


def kept(folder: str, generation: int | None) -> dict[str, Any] | None:
    """What the supervisor of this node has kept of a start (roles/pretrain/files/supervise/evidence.py); None where it has not."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError), open(os.path.join(folder, "supervise", f"evidence-{generation}.json"), "rb") as file:
        data = json.loads(file.read(LONGEST))
        if data["version"] == 1 and data["generation"] == generation and set(data["evidence"]) >= FOUND:
            return dict(data["evidence"])
    return None


def read(collector: _evidence.Collector, generation: int | None, kernel: str, unit: str) -> dict[str, Any]:
    """Run as the training user."""
    found = kept(collector.folder, generation)
    return {"evidence": collector.collect(kernel, unit) if found is None else _evidence.with_journals(found, kernel, unit),
            "result": _runs.launcher_result(collector.folder)}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str", "required": True},
            "node_rank": {"type": "int", "required": True},
            "nproc_per_node": {"type": "int", "required": True},
            "generation": {"type": "int"},
            "seconds": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    began = time.time()
    folder = os.path.join(wanted["run_dir"], wanted["run_id"])
    collector = _evidence.Collector(folder, wanted["node_rank"], wanted["nproc_per_node"], wanted["seconds"])
    kernel, unit = "", ""
    try:
        since = as_user(wanted["user"], begin, folder)
        with contextlib.suppress(OSError):  # root's part
            kernel, unit = journal(module, since, "--dmesg"), journal(module, since, "--unit", wanted["unit"])
        found = as_user(wanted["user"], read, collector, wanted["generation"], kernel, unit)
    except UserError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found, log=os.path.join(folder, "train.log"),
                     lives=bool(_remains.of_runs(wanted["run_dir"])), began_done=[began, time.time()])


if __name__ == "__main__":
    main()
