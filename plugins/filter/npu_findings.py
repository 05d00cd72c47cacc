"""What a small operation on every NPU found, in words."""
from __future__ import annotations

DOCUMENTATION = r"""
name: npu_findings
short_description: What a small operation on every NPU found, in words
description:
  - Reads the result of the program C(npu_check.py) of role conda_env.
positional: _input, rc, errors
options:
  _input:
    description: What the program printed.
    type: str
    required: true
  rc:
    description: Its status.
    type: int
    required: true
  errors:
    description: What it printed to stderr.
    type: str
    default: ""
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ result.stdout | ascend.cluster.npu_findings(result.rc, result.stderr) }}"
"""

RETURN = r"""
_value:
  description: A text for each kind of failure; empty when every NPU is well.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_check


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"npu_findings": _npu_check.npu_findings}
