"""Variables that no role knows."""
from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_variables
short_description: Variables that no role knows
description:
  - Finds names of variables that are close to one of a role, or begin like those of a role, and are none.
  - Looks at names only, so that a value that cannot be templated or decrypted does not matter.
options:
  _input:
    description: Names of the hosts.
    type: list
    required: true
  hostvars:
    description: Variables of the hosts.
    type: dict
    required: true
  known:
    description: Names that belong to something else.
    type: list
    required: true
  project:
    description: The checkout of this project, whose roles are read.
    type: path
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | ascend.cluster.unknown_variables(hostvars, [], cluster_project_dir) }}"
"""

RETURN = r"""
_value:
  description: C(errors), names close to one that exists, and C(warnings), other names that begin like those of a role.
  type: dict
"""

from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _names


def unknown_variables(hosts: Sequence[str], hostvars: Mapping[str, Iterable[str]], known: Sequence[str], project: str) -> dict[str, list[str]]:
    """See DOCUMENTATION. Iterating over the variables of a host gives their names and templates nothing."""
    return _names.judge({host: list(hostvars[host]) for host in hosts}, known, Path(project))


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"unknown_variables": unknown_variables}
