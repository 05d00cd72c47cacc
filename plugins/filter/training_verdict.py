"""Judge a run by what every node's follower saw."""
from __future__ import annotations

DOCUMENTATION = r"""
name: training_verdict
short_description: Judge a run by what every node's follower saw
description:
  - Names the node whose failure came first; see plugins/module_utils/_run.py.
options:
  _input:
    description: Outcome of each node, in the order of ranks, as M(ascend.cluster.follow_training) returns it.
    type: dict
    required: true
  train_iters:
    description: The last iteration.
    type: int
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ outcomes | ascend.cluster.training_verdict(1000) }}"
"""

RETURN = r"""
_value:
  description: C(succeeded), C(message), C(culprit) and C(losses).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _run


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"training_verdict": _run.training_verdict}
