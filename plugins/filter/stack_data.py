"""What a stack of the training's software consists of."""
from __future__ import annotations

DOCUMENTATION = r"""
name: stack_data
short_description: What a stack of the training's software consists of
description:
  - Reads a file of the project's folder stacks/ with the rules and options beside it, once in a process.
options:
  _input:
    description: The stack's name, or the absolute path of a site's own file.
    type: str
    required: true
  project:
    description: The project's folder on the controller.
    type: path
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ('recipe' | ascend.cluster.stack_data(cluster_project_dir)).cann.version }}"
"""

RETURN = r"""
_value:
  description: What the file holds, with name, rules and options; the keys are explained in docs/stacks.md.
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _stack_data


def stack_data(name: str, project: str) -> dict[str, Any]:
    """See DOCUMENTATION."""
    try:
        return _stack_data.load(str(name), str(project))
    except _stack_data.StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"stack_data": stack_data}
