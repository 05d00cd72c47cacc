"""How long a stress of the cluster will take."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_expects
short_description: How long a stress of the cluster will take
description:
  - Says it by the time that the measurements between nodes of the tier deep took.
options:
  _input:
    description: C(measured) of the filter P(ascend.cluster.check_judged#filter).
    type: dict
    required: true
  nodes:
    description: How many.
    type: int
    required: true
  minutes:
    description: How long the same is measured again and again.
    type: float
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ judged.measured | ascend.cluster.check_expects(16, 30) }}"
"""

RETURN = r"""
_value:
  description: The words.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _check_tiers


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_expects": _check_tiers.expects}
