"""The network interface that carries an address."""
from __future__ import annotations

DOCUMENTATION = r"""
name: interface_of
short_description: The network interface that carries an address
description:
  - Looks through the network facts of a node.
options:
  _input:
    description: The facts of the node (ansible_facts), with the network subset.
    type: dict
    required: true
  address:
    description: An IP address of the node.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ansible_facts | ascend.cluster.interface_of('192.0.2.11') }}"
"""

RETURN = r"""
_value:
  description: Name of the interface, empty when none carries the address.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _topology


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"interface_of": _topology.interface_of}
