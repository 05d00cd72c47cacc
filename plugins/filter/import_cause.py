"""Likely cause of a failed import."""
from __future__ import annotations

DOCUMENTATION = r"""
name: import_cause
short_description: Likely cause of a failed import or first operation
description:
  - Knows the usual failures of torch, torch_npu and apex on NPU servers, and of the first operation on an NPU.
options:
  _input:
    description: What the failed program printed.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ result.stderr | ascend.cluster.import_cause }}"
"""

RETURN = r"""
_value:
  description: The cause in words.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _import_causes


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"import_cause": _import_causes.import_cause}
