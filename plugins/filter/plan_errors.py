"""Rules that a parallel plan breaks."""
from __future__ import annotations

DOCUMENTATION = r"""
name: plan_errors
short_description: Rules that a parallel plan breaks
description:
  - Judges the arguments of a training by the rules of Megatron-LM and AscendSpeed for a number of ranks.
options:
  _input:
    description: Arguments and values; names as options, or as C(plan_) variables.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack#filter) reads it.
    type: dict
    required: true
  world_size:
    description: Number of ranks.
    type: int
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.assert:
    that: plan_parallel_arguments | combine(plan_moe_arguments) | ascend.cluster.plan_errors(cluster_stack_data, 16) == []
"""

RETURN = r"""
_value:
  description: One message a broken rule, with the variables to change.
  type: list
"""

from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _plan


def plan_errors(plan: Mapping[str, Any], stack: Mapping[str, Any], world_size: int) -> list[str]:
    """See DOCUMENTATION."""
    if not isinstance(plan, Mapping):
        raise AnsibleFilterError(f"ascend.cluster.plan_errors: expected a mapping of arguments, found {type(plan).__name__}")
    try:
        return _plan.plan_errors(plan, stack, int(world_size))
    except ValueError as error:
        raise AnsibleFilterError(f"ascend.cluster.plan_errors: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"plan_errors": plan_errors}
