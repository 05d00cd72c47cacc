"""Why gloo's interface and HCCL's address do not fit."""
from __future__ import annotations

DOCUMENTATION = r"""
name: interface_error
short_description: Why gloo's interface and HCCL's address do not fit
description:
  - Looks in the network facts of a node whether an interface carries an address.
options:
  _input:
    description: The facts of the node (ansible_facts), with the network subset.
    type: dict
    required: true
  address:
    description: The address that HCCL uses (HCCL_IF_IP).
    type: str
    required: true
  interface:
    description: The interface that gloo uses (GLOO_SOCKET_IFNAME).
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ansible_facts | ascend.cluster.interface_error('192.0.2.11', 'eth0') }}"
"""

RETURN = r"""
_value:
  description: What the interface carries instead, and which one carries the address; empty when all is well.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _topology


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"interface_error": _topology.interface_error}
