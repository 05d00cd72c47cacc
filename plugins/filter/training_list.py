"""The runs that a node knows, as a plain table."""
from __future__ import annotations

DOCUMENTATION = r"""
name: training_list
short_description: The runs that a node knows, as a plain table
description:
  - State, iterations, first and last loss, duration and culprit, the newest run first.
options:
  _input:
    description: What M(ascend.cluster.training_runs) returns as C(runs).
    type: list
    elements: dict
    required: true
  moment:
    description: Now, by the node's clock, seconds since 1970.
    type: float
    required: true
  node:
    description: Its name.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ answer.runs | ascend.cluster.training_list(answer.moment, 'node1') }}"
"""

RETURN = r"""
_value:
  description: The table.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _training_table


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"training_list": _training_table.training_list}
