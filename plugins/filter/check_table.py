"""What the checks found, as a table for a terminal."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_table
short_description: What the checks found, as a table for a terminal
description:
  - Draws nodes, findings and figures as plain lines, each no longer than a width.
options:
  _input:
    description: C(result) of the filter P(ascend.cluster.check_together#filter).
    type: dict
    required: true
  width:
    description: Columns.
    type: int
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ __check_cluster_report.result | ascend.cluster.check_table(120) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _check_table


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_table": _check_table.lines}
