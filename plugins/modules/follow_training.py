#!/usr/bin/python
# The work is done by the action plugin of the same name, on the controller.
"""Follow a run to its end by asking one node."""
from __future__ import annotations

DOCUMENTATION = r"""
module: follow_training
short_description: Follow a run to its end by asking one node
description:
  - Runs on the controller, in one process for any number of nodes, and asks the node that it is delegated to by M(ascend.cluster.training_status)
    until the run is over. The nodes watch each other; whatever becomes of this process, they train on.
  - In a loop over some nodes it asks the next one where a node does not answer twice. Prints one plain line an iteration, changes of the run's state
    and warnings; the callback P(ascend.cluster.training_live#callback) draws its figures on a terminal.
  - Does not fail by itself; the caller judges by the filter P(ascend.cluster.run_verdict#filter).
options:
  python:
    description: The Python that runs the supervisor on the node.
    type: path
    required: true
  program:
    description: The supervisor on the node.
    type: path
    required: true
  run_dir:
    description: The folder of all runs on the node.
    type: path
    required: true
  user:
    description: The training user, as whom is asked.
    type: str
    required: true
  run_id:
    description: The run to follow; that which the first node that answers calls its current one, when left out.
    type: str
  node:
    description: Name of the node that is asked, for messages.
    type: str
    required: true
  log_node:
    description: Name of the node that logs the iterations, the last one.
    type: str
    required: true
  poll_seconds:
    description: A question is answered after so long (seconds), or as soon as there is news.
    type: float
    default: 10
  unreachable_timeout:
    description: Where no node answers for so long (seconds), following ends.
    type: float
    default: 300
  previous:
    description: What this module returned for the node before.
    type: dict
    default: {}
attributes:
  check_mode:
    description: There is nothing to follow in check mode.
    support: none
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Follow the training to its end
  ascend.cluster.follow_training:
    python: /opt/ascend-cluster/conda/envs/test/bin/python
    program: /opt/ascend-cluster/bin/supervise
    run_dir: /opt/ascend-cluster/runs
    user: ascend
    node: "{{ item }}"
    log_node: node2
    previous: "{{ followed | default({}) }}"
  loop: [node1, node2, node1, node2]
  loop_control:
    break_when: followed.over
  delegate_to: "{{ item }}"
  run_once: true
  register: followed
"""

RETURN = r"""
over:
  description: Whether there is nothing left to follow; the run is over, or no node answers.
  type: bool
  returned: always
run_id:
  description: The run.
  type: str
  returned: always
status:
  description: The last answer, {} where there was none.
  type: dict
  returned: always
silent:
  description: Of each node that was asked since the last answer, why it gave none.
  type: dict
  returned: always
absent:
  description: Those of them that know no such run; when it is the turn of one of them again, and there are no others, it is over.
  type: list
  elements: str
  returned: always
answered:
  description: When the last answer came, by the controller's monotonic clock.
  type: float
  returned: always
follower:
  description: What was told already, for the next node; C(seen) holds iteration, loss and ms of the newest lines.
  type: dict
  returned: always
"""
