"""Tell which ranks of a training stand elsewhere than the others."""
from __future__ import annotations

DOCUMENTATION = r"""
name: stacks_verdict
short_description: Tell which ranks of a training stand elsewhere than the others
description:
  - Compares the stacks of all ranks; see plugins/module_utils/_stacks.py.
options:
  _input:
    description: Stacks of each node in the order of ranks, as M(ascend.cluster.training_stacks) returns them; "" for one that gave no answer.
    type: list
    required: true
  nodes:
    description: Names of the nodes in the order of ranks.
    type: list
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ (stacks | ascend.cluster.stacks_verdict(cluster_nodes, 8)).message }}"
"""

RETURN = r"""
_value:
  description: C(ranks) and C(message).
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _stacks


def stacks_verdict(found: Sequence[Mapping[str, Mapping[str, str]]], nodes: Sequence[str], nproc_per_node: int) -> dict[str, Any]:
    """See DOCUMENTATION."""
    told = {name: stacks for name, stacks in zip(nodes, found) if isinstance(stacks, Mapping)}
    return _stacks.verdict({int(rank): one for stacks in told.values() for rank, one in stacks.items()}, nodes, nproc_per_node,
                           [name for name in nodes if name not in told])


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"stacks_verdict": stacks_verdict}
