"""What a parallel plan needs, or what is wrong with it."""
from __future__ import annotations

DOCUMENTATION = r"""
name: parallel_plan
short_description: What a parallel plan needs, or what is wrong with it
description:
  - Tells of the arguments of a training how its ranks are spread, what each holds, whether that fits, and what a checkpoint costs; or which
    rules are broken, and which plans near it are valid. docs/plan.md has the formulas.
options:
  _input:
    description: Arguments and values; names as options, or as C(plan_) variables.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack_data#filter) reads it.
    type: dict
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
  nnodes:
    description: Number of nodes.
    type: int
    required: true
  vocabulary:
    description: Entries of the tokenizer.
    type: int
    required: true
  npu_memory_gib:
    description: Memory of an NPU in GiB.
    type: float
    required: true
  save_mb_per_second:
    description: What each node writes to the disk of the checkpoints, in MB (10^6 bytes) a second.
    type: float
    required: true
  exec_timeout:
    description: C(HCCL_EXEC_TIMEOUT) in seconds.
    type: float
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: >-
      {{ (plan_settings | ascend.cluster.parallel_plan(cluster_stack_data, nproc_per_node=8, nnodes=2, vocabulary=32000, npu_memory_gib=64,
                                                       save_mb_per_second=1000, exec_timeout=1836)).table }}
"""

RETURN = r"""
_value:
  description: >-
    C(errors) (broken rules), C(warnings), C(unknown) (why sizes are not told), C(world_size), C(data_parallel_size), C(micro_batches);
    C(largest_nnodes), the most nodes up to the present ones for which the plan is valid; C(nearest), at most five valid plans near it, each with
    C(changes) and C(margin_gib), where rules are broken or it does not fit. Of a valid one C(parameters), C(stages) (each with C(rank_parameters),
    C(static_bytes) and C(activation_bytes)), C(memory) (with C(fits) and C(margin_gib)) and C(checkpoint) (C(all_bytes), C(node_bytes) by node rank,
    C(rank_bytes), C(save_seconds), C(skew_seconds), C(saves)). C(table) has it all as text.
  type: dict
"""

from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _parallel_plan, _plan_table

# Variables that give the numbers, for who has set one of them to nonsense.
VARIABLES = {"nproc_per_node": "plan_nproc_per_node", "vocabulary": "plan_tokenizer_entries", "npu_memory_gib": "plan_npu_memory_gib",
             "save_mb_per_second": "plan_save_mb_per_second", "exec_timeout": "HCCL_EXEC_TIMEOUT in pretrain_environment_extra"}


def parallel_plan(plan: Mapping[str, Any], stack: Mapping[str, Any], **numbers: Any) -> dict[str, Any]:
    """See DOCUMENTATION."""
    read: dict[str, float] = {}
    for name, value in numbers.items():
        try:
            read[name] = float(str(value))
        except ValueError:
            read[name] = 0.0
        if not read[name] > 0:
            raise AnsibleFilterError(f"ascend.cluster.parallel_plan: {VARIABLES.get(name, name)} is {value!r}, expected a number above 0")
    site = _parallel_plan.Site(**{name: int(value) if name in ("nproc_per_node", "nnodes", "vocabulary") else value  # type: ignore[arg-type]
                                  for name, value in read.items()})
    said = _parallel_plan.parallel_plan(plan, stack, site)
    return {**said, "table": "\n".join(_plan_table.table(said))}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"parallel_plan": parallel_plan}
