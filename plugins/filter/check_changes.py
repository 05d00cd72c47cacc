"""What changed between two results of the checks."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_changes
short_description: What changed between two results of the checks
description:
  - Says which findings and nodes are new, and which are gone.
options:
  _input:
    description: C(result) of the filter M(ascend.cluster.preflight_report).
    type: dict
    required: true
  before:
    description: The text of an older one, as JSON.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ __preflight_report.result | ascend.cluster.check_changes(lookup('ansible.builtin.file', 'checks/checks.json')) }}"
"""

RETURN = r"""
_value:
  description: A line for each change.
  type: list
  elements: str
"""

import json
from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms


def check_changes(found: Mapping[str, Any], before: str) -> list[str]:
    """See DOCUMENTATION."""
    try:
        old = json.loads(before)
        return _check_forms.changes(old if isinstance(old, dict) else {}, found)
    except ValueError as error:
        raise AnsibleFilterError(f"The older result cannot be read: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_changes": check_changes}
