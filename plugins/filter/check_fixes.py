"""What check_cluster_fix is to do on which node."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_fixes
short_description: What check_cluster_fix is to do on which node
description:
  - Works out the calls of C(fix.sh) (role check_cluster) that mend what was found, for the fixes that are asked for by name.
options:
  _input:
    description: C(result) of the filter M(ascend.cluster.preflight_report).
    type: dict
    required: true
  hostvars:
    description: Variables of the hosts; read is C(__preflight_node).
    type: dict
    required: true
  names:
    description: Fixes that are asked for.
    type: list
    elements: str
    required: true
  settings:
    description: See role check_cluster, C(__check_cluster_fix_settings).
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ __preflight_report.result | ascend.cluster.check_fixes(hostvars, ['tls_switch'], __check_cluster_fix_settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(errors) (names that no fix has; nothing else is there then), C(calls) (by node a list of fix, words and call), C(scripts) (by node the lines
      to be put behind C(fix.sh)), C(told) (a line for each call) and C(left) (what is not mended, and why).
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _fixes


def check_fixes(found: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]], names: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """See DOCUMENTATION."""
    errors = _fixes.errors(names)
    if errors:
        return {"errors": errors, "calls": {}, "scripts": {}, "told": [], "left": []}
    judged = {host: hostvars[host].get("__preflight_node") for host in found["nodes"]}
    planned = _fixes.plan({host: node for host, node in judged.items() if node}, found["findings"], names, settings)
    return {"errors": [], **planned, "scripts": {host: _fixes.script(host, calls) for host, calls in planned["calls"].items()}}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_fixes": check_fixes}
