"""The sources of a host as it fetches from them."""
from __future__ import annotations

DOCUMENTATION = r"""
name: transfer_sources
short_description: The sources of a host as it fetches from them
description:
  - Adds to the plan what the sources told of themselves, their host keys and the port of their ssh server.
options:
  _input:
    description: The host's part C(fetch) of P(ascend.cluster.transfer_plan#filter).
    type: list
    required: true
  hostvars:
    description: Variables of the hosts.
    type: dict
    required: true
  incoming:
    description: What the host fetches, in the same order.
    type: list
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ plan.fetch.node2 | ascend.cluster.transfer_sources(hostvars, [{'source': 'node1', 'files': ['/data/a.bin']}]) }}"
"""

RETURN = r"""
_value:
  description: C(name), C(address), C(port), C(host_keys) and C(files) of each.
  type: list
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _transfer_plan


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"transfer_sources": _transfer_plan.sources}
