#!/usr/bin/python
# The work is done by the action plugin of the same name, on the controller.
"""Follow the training on a node to its end."""
from __future__ import annotations

DOCUMENTATION = r"""
module: follow_training
short_description: Follow the training on a node to its end
description:
  - Runs on the controller, one process a node, and asks the node for news by M(ascend.cluster.training_state) until its unit ends.
  - The followers of all nodes meet in a folder on the controller. The first that sees its node fail leaves a note there,
    upon which every other follower stops its own node, so that no half-dead job is left.
  - Does not fail by itself; the caller judges the outcomes of all nodes together with the filter P(ascend.cluster.training_verdict#filter).
options:
  unit:
    description: The systemd unit of the training.
    type: str
    required: true
  run_dir:
    description: The folder of all runs on the node.
    type: path
    required: true
  user:
    description: The training user, as whom what lies there is read.
    type: str
    required: true
  run_id:
    description: The run to follow.
    type: str
    required: true
  meeting:
    description: A folder on the controller, new for each launch, the same for all nodes.
    type: path
    required: true
  show_progress:
    description: Print each iteration as it is logged; for the last node, whose last rank logs them.
    type: bool
    default: false
  poll_seconds:
    description: How often to ask a node for news (seconds).
    type: int
    default: 10
  unreachable_timeout:
    description: A node that cannot be reached for so long (seconds) counts as failed.
    type: int
    default: 300
  stop_timeout:
    description: How long a node may take to stop (seconds).
    type: int
    default: 120
  node_rank:
    description: Rank of this node, for the ranks that its logs tell of.
    type: int
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
attributes:
  check_mode:
    description: Reads only, unless another node failed.
    support: none
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Follow the training to its end
  ascend.cluster.follow_training:
    unit: ascend-pretrain.service
    run_dir: /opt/ascend-cluster/runs
    user: ascend
    run_id: 0123456789ab
    meeting: "{{ meeting.path }}"
    node_rank: 0
    nproc_per_node: 8
    show_progress: "{{ inventory_hostname == ansible_play_hosts[-1] }}"
  register: outcome
"""

RETURN = r"""
outcome:
  description: How it ended here; C(succeeded), C(failed), C(stopped) or C(unreachable).
  type: str
  returned: always
reason:
  description: Why.
  type: str
  returned: always
iterations:
  description: The iterations that this node logged, each as C(Iteration) in plugins/module_utils/_training_log.py.
  type: list
  elements: dict
  returned: always
log:
  description: Path of the log on the node.
  type: str
  returned: always
evidence:
  description: What its logs tell of the end, as M(ascend.cluster.training_evidence) returns it; empty after a success, or where they cannot be had.
  type: dict
  returned: always
clock:
  description: Bounds C(low) and C(high) of the node's clock less the controller's, in seconds.
  type: dict
  returned: always
ended_at:
  description: When the training ended there, seconds since 1970 by the node's clock.
  type: float
  returned: always
"""
