"""What is wrong with the list of ports."""
from __future__ import annotations

DOCUMENTATION = r"""
name: port_errors
short_description: What is wrong with the list of ports
description:
  - Finds in C(cluster_ports) what is missing, what is no port, and ports that are given twice.
options:
  _input:
    description: Ports or ranges by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ cluster_ports | ascend.cluster.port_errors }}"
"""

RETURN = r"""
_value:
  description: One message an entry; empty when all can be used.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _port_ranges


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"port_errors": _port_ranges.port_errors}
