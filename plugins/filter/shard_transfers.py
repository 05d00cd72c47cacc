"""Checkpoint files that must travel between the nodes."""
from __future__ import annotations

DOCUMENTATION = r"""
name: shard_transfers
short_description: Checkpoint files that must travel between the nodes
description:
  - Compares the checkpoint files that the nodes have with those that their ranks read, see plugins/module_utils/_shards.py.
options:
  _input:
    description: Arguments and values; names as options, with underscores, or as C(plan_) variables.
    type: dict
    required: true
  stack:
    description: The stack, as the filter P(ascend.cluster.stack#filter) reads it.
    type: dict
    required: true
  listings:
    description: Of each node in the order of ranks, lines of path, size and time of change, with tabs between.
    type: list
    elements: list
    required: true
  nproc_per_node:
    description: Ranks on each node.
    type: int
    required: true
  iteration:
    description: The iteration to load, or C(release).
    type: raw
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: >-
      {{ plan_settings | ascend.cluster.shard_transfers(cluster_stack_data, [["iter_0000010/mp_rank_00/model_optim_rng.pt\t100\t1.5"], []], 8, 10) }}
"""

RETURN = r"""
_value:
  description: >-
    C(transfers), of each node a list of C(source) and C(files); C(given), of each node the files that others get from it; and C(lost), the
    files that no node has.
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _shards


def shard_transfers(plan: Mapping[str, Any], stack: Mapping[str, Any], listings: Sequence[Sequence[str]], nproc_per_node: int,
                    iteration: int | str) -> dict[str, Any]:
    """See DOCUMENTATION."""
    found = [{path: rest for path, *rest in (line.split("\t") for line in lines)} for lines in listings]
    try:
        return _shards.shard_transfers(plan, stack, found, int(nproc_per_node), iteration)
    except ValueError as error:
        raise AnsibleFilterError(f"ascend.cluster.shard_transfers: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"shard_transfers": shard_transfers}
