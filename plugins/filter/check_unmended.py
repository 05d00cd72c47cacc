"""What is found all the same after it was to be mended."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_unmended
short_description: What is found all the same after it was to be mended
description:
  - Compares the second look with what check_cluster_fix did.
options:
  _input:
    description: C(result) of the filter M(ascend.cluster.preflight_report), of the second look.
    type: dict
    required: true
  calls:
    description: C(calls) of the filter M(ascend.cluster.check_fixes).
    type: dict
    required: true
  said:
    description: What C(fix.sh) printed, by node.
    type: dict
    required: true
  hostvars:
    description: Variables of the hosts; read is C(__preflight_node), of the second look.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ __preflight_report.result | ascend.cluster.check_unmended(__check_cluster_fixes.calls, {'node1': 'end=node1'}, hostvars) }}"
"""

RETURN = r"""
_value:
  description: A line for each fix that did not help on a node.
  type: list
  elements: str
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _fixes


def check_unmended(found: Mapping[str, Any], calls: Mapping[str, Sequence[Sequence[Any]]], said: Mapping[str, str],
                   hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """See DOCUMENTATION."""
    return _fixes.still_there(calls, found["findings"], said, {host: hostvars[host].get("__preflight_node", {}) for host in calls})


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_unmended": check_unmended}
