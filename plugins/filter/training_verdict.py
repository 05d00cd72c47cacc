"""Judge a run by what every node's follower saw."""
from __future__ import annotations

DOCUMENTATION = r"""
name: training_verdict
short_description: Judge a run by what every node's follower saw
description:
  - Names the node and the rank on which it began, the cause and what to do; see plugins/module_utils/_run.py.
options:
  _input:
    description: Outcome of each node, in the order of ranks, as M(ascend.cluster.follow_training) returns it.
    type: dict
    required: true
  expected:
    description: C(last_iteration), C(log_interval), C(first_iteration) and C(nproc_per_node).
    type: dict
    required: true
  addresses:
    description: Name of each node to its address on the cluster's network.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ outcomes | ascend.cluster.training_verdict(expected, {'node1': '10.0.0.1', 'node2': '10.0.0.2'}) }}"
"""

RETURN = r"""
_value:
  description: C(succeeded), C(message), C(culprit), C(nodes), C(ranks), C(cause) and C(losses).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _run


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"training_verdict": _run.training_verdict}
