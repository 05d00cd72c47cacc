"""Who fetches files from whom."""
from __future__ import annotations

DOCUMENTATION = r"""
name: transfer_plan
short_description: Who fetches files from whom
description:
  - Settles, once for all hosts, who fetches what from whom, and which of those that fetch from a source acts there for all.
  - Each host's variables are looked at once.
options:
  _input:
    description: Names of the hosts that take part.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts; what one fetches is its C(__node_transfer_incoming).
    type: dict
    required: true
  nodes:
    description: C(name) and C(address) of the cluster's nodes.
    type: list
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | ascend.cluster.transfer_plan(hostvars, cluster_topology.nodes) }}"
"""

RETURN = r"""
_value:
  description: C(fetch), the sources of each host that fetches, and C(give), the sources at which each acting host lets others in.
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _transfer_plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"transfer_plan": _transfer_plan.plan}
