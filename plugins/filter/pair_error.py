"""Why a torch_npu does not go with a CANN."""
from __future__ import annotations

DOCUMENTATION = r"""
name: pair_error
short_description: Why a torch_npu does not go with a CANN
description:
  - Looks the two versions up in a table.
options:
  _input:
    description: Version of torch_npu.
    type: str
    required: true
  cann:
    description: Version of CANN, or empty.
    type: str
    required: true
  pairs:
    description: Versions of CANN by version of torch_npu.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ '2.1.0.post3' | ascend.cluster.pair_error('8.0.RC1', conda_env_cann_pairs) }}"
"""

RETURN = r"""
_value:
  description: A message; empty when they fit.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _wheels


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"pair_error": _wheels.pair_error}
