"""Judge a run by what its supervisors say and what its nodes show."""
from __future__ import annotations

DOCUMENTATION = r"""
name: run_verdict
short_description: Judge a run by what its supervisors say and what its nodes show
description:
  - Names the node and the rank on which it began, the cause and what to do; see plugins/module_utils/_run_verdict.py.
options:
  _input:
    description: The last answer of the run's supervisors, as M(ascend.cluster.training_status) returns it.
    type: dict
    required: true
  answers:
    description: What M(ascend.cluster.training_evidence) returned on every node, in the order of ranks.
    type: dict
    required: true
  expected:
    description: C(log_interval) and C(nproc_per_node).
    type: dict
    required: true
  addresses:
    description: Name of each node to its address on the cluster's network, in the order of ranks.
    type: dict
    required: true
  seen:
    description: C(follower.seen) of M(ascend.cluster.follow_training).
    type: list
    elements: list
    default: []
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ status | ascend.cluster.run_verdict(answers, {'log_interval': 1, 'nproc_per_node': 8}, {'node1': '10.0.0.1', 'node2': '10.0.0.2'}) }}"
"""

RETURN = r"""
_value:
  description: C(succeeded), C(message), C(culprit), C(nodes), C(ranks), C(cause), C(losses), and of the run C(run), C(state), C(code), C(generation),
    C(restarts), C(iteration), C(total), C(checkpoint), C(skew), C(order) and C(supervisors).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _run_verdict


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"run_verdict": _run_verdict.run_verdict}
