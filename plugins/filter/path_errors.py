"""What is wrong with paths on the nodes."""
from __future__ import annotations

DOCUMENTATION = r"""
name: path_errors
short_description: What is wrong with paths on the nodes
description:
  - Finds paths with characters that a script, a systemd unit or ssh would not take as they are.
options:
  _input:
    description: Paths by name of the variable.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ {'cluster_workspace': cluster_workspace} | ascend.cluster.path_errors }}"
"""

RETURN = r"""
_value:
  description: One message a variable; empty when all can be used.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _paths


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"path_errors": _paths.path_errors}
