"""What a plan allows but hardly means."""
from __future__ import annotations

DOCUMENTATION = r"""
name: plan_warnings
short_description: What a plan allows but hardly means
description:
  - Lists settings that can be launched and are worth a second look.
options:
  _input:
    description: Arguments and values; names as options, or as C(plan_) variables.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack#filter) reads it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ plan_training_arguments | combine(plan_checkpoint_arguments) | ascend.cluster.plan_warnings(cluster_stack_data) }}"
"""

RETURN = r"""
_value:
  description: One message a remark.
  type: list
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"plan_warnings": _plan.plan_warnings}
