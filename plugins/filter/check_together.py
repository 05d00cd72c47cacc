"""One report of all tiers of the checks."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_together
short_description: One report of all tiers of the checks
description:
  - Puts what the preflight found and what was measured into one report.
options:
  _input:
    description: The report of the filter P(ascend.cluster.preflight_report#filter).
    type: dict
    required: true
  tier:
    description: The tier that was asked for.
    type: str
    required: true
  begun:
    description: Of the filter P(ascend.cluster.check_begins#filter), with C(tier).
    type: dict
    required: true
  judged:
    description: Of the filter P(ascend.cluster.check_judged#filter), one for each tier that was measured.
    type: list
    required: true
  strict:
    description: Whether warnings refuse, too.
    type: bool
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    report: "{{ __preflight_report | ascend.cluster.check_together('quick', {}, [], false) }}"
"""

RETURN = r"""
_value:
  description: C(message), C(count), C(warnings) and C(result), as the preflight's.
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _check_tiers


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_together": _check_tiers.together}
