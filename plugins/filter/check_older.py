"""An older result of the checks, to compare with."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_older
short_description: An older result of the checks, to compare with
description:
  - Reads a checks.json on the controller.
options:
  _input:
    description: Its path.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    older: "{{ '/srv/checks.json' | ascend.cluster.check_older }}"
"""

RETURN = r"""
_value:
  description: C(result), and C(error), which is empty where the file can be compared with.
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _check_changes


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_older": _check_changes.older}
