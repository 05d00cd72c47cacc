"""What the archives and files of a version of CANN are called."""
from __future__ import annotations

DOCUMENTATION = r"""
name: cann_layout
short_description: What the archives and files of a version of CANN are called
description:
  - Takes the newest of a stack's layouts (key C(cann.layouts) of a file in stacks/) that a version is not older than, and fills in its names.
positional: _input, version, arch, install_path
options:
  _input:
    description: Layouts, each with C(from), the version from which on it holds, names in which {version}, {arch} and {path} stand, and what is true or false.
    type: list
    elements: dict
    required: true
  version:
    description: Version of CANN.
    type: str
    required: true
  arch:
    description: As C(uname -m) prints it.
    type: str
    required: true
  install_path:
    description: Where CANN is installed.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ (cluster_stack_data.cann.layouts | ascend.cluster.cann_layout('9.1.0', 'aarch64', '/usr/local/Ascend')).home }}"
"""

RETURN = r"""
_value:
  description: The layout's names.
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _cann


def cann_layout(layouts: list[dict[str, Any]], version: str, arch: str, install_path: str) -> dict[str, Any]:
    """See DOCUMENTATION."""
    try:
        return _cann.layout(layouts, str(version), arch, install_path)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"cann_layout": cann_layout}
