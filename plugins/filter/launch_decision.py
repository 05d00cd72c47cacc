"""Decide whether a run is launched, followed, finished or refused."""
from __future__ import annotations

DOCUMENTATION = r"""
name: launch_decision
short_description: Decide whether a run is launched, followed, finished or refused
description:
  - Looks at the state of every node; see plugins/module_utils/_run.py.
options:
  _input:
    description: State of each node as M(ascend.cluster.training_state) returns it.
    type: dict
    required: true
  run_id:
    description: The run that is asked for.
    type: str
    required: true
  new_run:
    description: Repeat a finished run.
    type: bool
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ states | ascend.cluster.launch_decision('0123456789ab', false) }}"
"""

RETURN = r"""
_value:
  description: C(action) and C(message).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _run


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"launch_decision": _run.launch_decision}
