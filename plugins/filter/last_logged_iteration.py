"""The last iteration that a plan logs."""
from __future__ import annotations

DOCUMENTATION = r"""
name: last_logged_iteration
short_description: The last iteration that a plan logs
description:
  - Megatron-LM logs multiples of its interval only; see plugins/module_utils/_plan.py.
options:
  _input:
    description: The plan's arguments.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack#filter) reads it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ plan_settings | ascend.cluster.last_logged_iteration(cluster_stack_data) }}"
"""

RETURN = r"""
_value:
  description: The number of the iteration, 0 when none is logged.
  type: int
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"last_logged_iteration": _plan.last_logged_iteration}
