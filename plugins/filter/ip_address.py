"""An IP address in its one form."""
from __future__ import annotations

DOCUMENTATION = r"""
name: ip_address
short_description: An IP address in its one form
description:
  - Writes an address as the system prints it, so that two forms of one address are equal.
options:
  _input:
    description: The address.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ '2001:DB8:0::1' | ascend.cluster.ip_address }}"
"""

RETURN = r"""
_value:
  description: The address, empty for what is none.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils._addresses import canonical


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"ip_address": canonical}
