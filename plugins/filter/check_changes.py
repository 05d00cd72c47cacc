"""What changed between two results of the checks."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_changes
short_description: What changed between two results of the checks
description:
  - Says which findings and nodes are new, which are gone, and where something else is found.
options:
  _input:
    description: C(result) of the filter M(ascend.cluster.preflight_report).
    type: dict
    required: true
  before:
    description: C(result) of the filter P(ascend.cluster.check_older#filter).
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ __preflight_report.result | ascend.cluster.check_changes(older.result) }}"
"""

RETURN = r"""
_value:
  description: A line for each change.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _check_changes


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_changes": lambda found, before: _check_changes.changes(before, found)}
