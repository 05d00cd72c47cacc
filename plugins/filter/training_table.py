"""How a run stands, as a plain table."""
from __future__ import annotations

DOCUMENTATION = r"""
name: training_table
short_description: How a run stands, as a plain table
description:
  - Totals, then a row for each node, the worst first.
options:
  _input:
    description: An answer of M(ascend.cluster.training_status), best with O(ascend.cluster.training_status#module:full).
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ answer.status | ascend.cluster.training_table }}"
"""

RETURN = r"""
_value:
  description: The table.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _training_table


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"training_table": _training_table.training_table}
