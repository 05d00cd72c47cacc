"""Whether the NPUs are measured after a look."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_begins
short_description: Whether the NPUs are measured after a look
description:
  - Says why the tiers deep and stress of role check_cluster do not begin; they need a clean look, an idle cluster and the installed environment.
options:
  _input:
    description: The report of the filter P(ascend.cluster.preflight_report#filter).
    type: dict
    required: true
  hosts:
    description: Names of the nodes.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts; read is C(__check_cluster_brought).
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    begun: "{{ __preflight_report | ascend.cluster.check_begins(ansible_play_hosts_all, hostvars) }}"
"""

RETURN = r"""
_value:
  description: C(words), empty when nothing is in the way, and C(error).
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _check_tiers


def check_begins(report: Mapping[str, Any], hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """See DOCUMENTATION."""
    return _check_tiers.begins(report, {host: hostvars[host].get("__check_cluster_brought", {}) for host in hosts})


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_begins": check_begins}
