"""Checkpoint files that a node reads."""
from __future__ import annotations

DOCUMENTATION = r"""
name: required_shards
short_description: Checkpoint files that a node reads
description:
  - Lists the files that the ranks of one node read when Megatron-LM loads an iteration, whoever wrote them.
options:
  _input:
    description: Arguments and values; names as options, with underscores, or as C(plan_) variables.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack#filter) reads it.
    type: dict
    required: true
  node_rank:
    description: Rank of the node.
    type: int
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
  nnodes:
    description: Number of nodes.
    type: int
    required: true
  iteration:
    description: The iteration loaded.
    type: int
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: >-
      {{ plan_parallel_arguments | combine(plan_moe_arguments, plan_extra_arguments)
         | ascend.cluster.required_shards(cluster_stack_data, node_rank=0, nproc_per_node=8, nnodes=2, iteration=1000) }}
"""

RETURN = r"""
_value:
  description: Paths relative to the checkpoint folder.
  type: list
"""

from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _shards


def required_shards(plan: Mapping[str, Any], stack: Mapping[str, Any], node_rank: int, nproc_per_node: int, nnodes: int,
                    iteration: int) -> list[str]:
    """See DOCUMENTATION."""
    try:
        return _shards.required_shards(plan, stack, int(node_rank), int(nproc_per_node), int(nnodes), int(iteration))
    except ValueError as error:
        raise AnsibleFilterError(f"ascend.cluster.required_shards: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"required_shards": required_shards}
