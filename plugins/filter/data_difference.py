"""How a node's data differs, in words."""
from __future__ import annotations

DOCUMENTATION = r"""
name: data_difference
short_description: How a node's data differs, in words
description:
  - Names what M(ascend.cluster.data_manifest) found, at most ten paths of each kind.
options:
  _input:
    description: A result of the module; one that was left out found nothing.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ {'missing': ['/data/a.bin'], 'differing': [], 'unreadable': [], 'extra': []} | ascend.cluster.data_difference }}"
"""

RETURN = r"""
_value:
  description: The words; empty when nothing differs.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils._data_manifest import in_words


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"data_difference": in_words}
