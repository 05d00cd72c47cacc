"""Likely cause of a failed import."""
from __future__ import annotations

DOCUMENTATION = r"""
name: import_cause
short_description: Likely cause of a failed import
description:
  - Knows the usual failures of torch, torch_npu and apex on NPU servers.
options:
  _input:
    description: What the failed import printed.
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

from ansible_collections.ascend.cluster.plugins.module_utils import _wheels


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"import_cause": _wheels.import_cause}
