"""Whom a source of files lets in."""
from __future__ import annotations

DOCUMENTATION = r"""
name: transfer_keys
short_description: Whom a source of files lets in
description:
  - Lists the keys, addresses and files of those who fetch from a source.
options:
  _input:
    description: Names of the hosts that fetch from it.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts.
    type: dict
    required: true
  source:
    description: Name of the source.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ['node2'] | ascend.cluster.transfer_keys(hostvars, 'node1') }}"
"""

RETURN = r"""
_value:
  description: C(key), C(address) and C(files) of each.
  type: list
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _transfer_plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"transfer_keys": _transfer_plan.keys}
