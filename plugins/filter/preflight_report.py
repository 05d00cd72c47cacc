"""All findings of the preflight in one message."""
from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_report
short_description: All findings of the preflight in one message
description:
  - Folds equal findings over the nodes that have them, and adds what only a comparison of the nodes shows.
options:
  _input:
    description: Names of the nodes that were probed.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts; read are C(__preflight_node), C(__preflight_reach_names), C(__preflight_listened) and
      C(__preflight_connected).
    type: dict
    required: true
  errors:
    description: Messages about the inventory and the plan.
    type: list
    required: true
  settings:
    description: What is expected; see role preflight, C(__preflight_settings). Of C(profile), a path on the controller, the file is read.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | ascend.cluster.preflight_report(hostvars, [], __preflight_settings)).message }}"
"""

RETURN = r"""
_value:
  description: C(message) (empty when there is nothing to refuse), C(warnings), C(summary), C(count), C(result) and C(profile), of this cluster.
  type: dict
"""

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _findings, _probe, _profile, _reach


def preflight_report(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], errors: Sequence[str],
                     settings: Mapping[str, Any]) -> dict[str, Any]:
    """See DOCUMENTATION. A node without a judgement counts as one that gave no answer."""
    nodes: dict[str, dict[str, Any]] = {}
    for host in hosts:
        judged = hostvars[host].get("__preflight_node")
        nodes[host] = dict(judged if judged is not None else _probe.node({}, settings, host))
        if host in hostvars[host].get("__preflight_reach_names", []):
            nodes[host]["reach"] = _reach.read(hostvars[host]["__preflight_listened"], hostvars[host]["__preflight_connected"])
    profile, problems = _profile.load(settings["profile"]) if settings.get("profile") else ({}, [])
    return _findings.report(nodes, [*errors, *problems], {**settings, "profile": profile, "profile_path": settings.get("profile")})


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"preflight_report": preflight_report}
