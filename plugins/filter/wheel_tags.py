"""Tags of a CPython that is not installed yet."""
from __future__ import annotations

DOCUMENTATION = r"""
name: wheel_tags
short_description: Tags of a CPython that is not installed yet
description:
  - The order of packaging.tags.sys_tags().
options:
  _input:
    description: Version of Python.
    type: str
    required: true
  arch:
    description: As C(uname -m) prints it.
    type: str
    required: true
  glibc:
    description: Version of the C library.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ '3.8' | ascend.cluster.wheel_tags('aarch64', '2.28') }}"
"""

RETURN = r"""
_value:
  description: Tags, best first.
  type: list
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _wheels


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"wheel_tags": _wheels.predict_tags}
