"""Node ranks and addresses of a cluster."""
from __future__ import annotations

DOCUMENTATION = r"""
name: topology
short_description: Node ranks and addresses of a cluster
description:
  - Orders the hosts by rank, names the master and lists what is wrong with the inventory.
options:
  _input:
    description: Host names in the order of their group.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ cluster_hosts | ascend.cluster.topology(hostvars) }}"
"""

RETURN = r"""
_value:
  description: C(nodes), C(ranks), C(master), C(master_addr) and C(errors).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _topology


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"topology": _topology.topology}
