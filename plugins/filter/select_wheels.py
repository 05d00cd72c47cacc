"""Wheels that fit an interpreter, found and proved."""
from __future__ import annotations

DOCUMENTATION = r"""
name: select_wheels
short_description: Wheels that fit an interpreter, found and proved
description:
  - Chooses by PEP 425 tags, never by a fixed file name; reads the files on the controller.
options:
  _input:
    description: Items with C(name) and optionally C(version), C(src), C(sha256).
    type: list
    required: true
  files:
    description: Paths of the wheels in the folder.
    type: list
    required: true
  folder:
    description: Folder of the files, for messages.
    type: str
    required: true
  tags:
    description: Tags of the interpreter, best first.
    type: list
    required: true
  known:
    description: SHA-256 by file name, where the publisher told it.
    type: dict
    required: true
  pip_version:
    description: Version of pip on the node.
    type: str
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ conda_env_wheels | ascend.cluster.select_wheels(files, '/srv/wheels', tags, {}) }}"
"""

RETURN = r"""
_value:
  description: C(wheels) with C(name), C(version), C(filename), C(src), C(sha256) each, and C(errors).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _wheels


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"select_wheels": _wheels.select_wheels}
