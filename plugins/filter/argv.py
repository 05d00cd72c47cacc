"""Command line arguments from a mapping."""
from __future__ import annotations

DOCUMENTATION = r"""
name: argv
short_description: Command line arguments from a mapping
description:
  - True gives a bare option; false, null and the empty string leave it out; a list gives one word an item.
options:
  _input:
    description: Option names without dashes, and values.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ {'num-layers': 32, 'bf16': true} | ascend.cluster.argv | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The words of the command line.
  type: list
"""

from typing import Any, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _argv


def argv(options: Mapping[str, Any]) -> list[str]:
    """See DOCUMENTATION."""
    try:
        return _argv.argv(options)
    except ValueError as error:
        raise AnsibleFilterError(f"ascend.cluster.argv: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"argv": argv}
