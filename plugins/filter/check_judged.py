"""What the NPUs did, judged."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_judged
short_description: What the NPUs did, judged
description:
  - Judges what the program of role check_cluster printed on the nodes, in comparison of all of them.
options:
  _input:
    description: Names of the nodes, that which ordered first.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts; read are C(__preflight_node), C(__check_cluster_started) and C(__check_cluster_ended).
    type: dict
    required: true
  settings:
    description: What is expected; see role check_cluster, C(__check_cluster_settings).
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    judged: "{{ cluster_nodes | ascend.cluster.check_judged(hostvars, __check_cluster_settings) }}"
"""

RETURN = r"""
_value:
  description: C(findings) by node, and C(measured).
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _deep


def check_judged(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """See DOCUMENTATION. What did not start says why itself."""
    outputs = {}
    for host in hosts:
        started = hostvars[host].get("__check_cluster_started", {})
        outputs[host] = started if started.get("rc") != 0 else hostvars[host].get("__check_cluster_ended", {})
    npus = {host: hostvars[host]["__preflight_node"]["facts"]["torch_devices"] for host in hosts}
    return _deep.judge(outputs, hosts[0], settings, npus)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_judged": check_judged}
