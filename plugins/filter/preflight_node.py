"""Findings of the preflight probe on one node."""
from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_node
short_description: Findings of the preflight probe on one node
description:
  - Judges the result of the task that ran the probe of role preflight.
options:
  _input:
    description: The registered result of M(ansible.builtin.raw).
    type: dict
    required: true
  settings:
    description: What is expected; see role preflight, C(__preflight_settings).
    type: dict
    required: true
  host:
    description: Name of the node in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    __preflight_node: "{{ __preflight_probe | ascend.cluster.preflight_node(__preflight_settings, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: C(findings), C(job) (state of the training unit) and C(facts).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _probe


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"preflight_node": _probe.node}
