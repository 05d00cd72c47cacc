"""Union of sets of ports."""
from __future__ import annotations

DOCUMENTATION = r"""
name: port_ranges
short_description: Union of sets of ports
description:
  - Unites sets of ports and prints them as the kernel prints C(net.ipv4.ip_local_reserved_ports).
options:
  _input:
    description: Numbers and ranges separated by commas; one text or a list of them.
    type: raw
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ['8000-8015,700', '701'] | ascend.cluster.port_ranges }}"
"""

RETURN = r"""
_value:
  description: Ascending, neighbours joined, separated by commas.
  type: str
"""

from typing import Any, Iterable

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _port_ranges


def port_ranges(texts: str | Iterable[str]) -> str:
    """See DOCUMENTATION."""
    try:
        return _port_ranges.port_ranges(texts)
    except ValueError as error:
        raise AnsibleFilterError(f"ascend.cluster.port_ranges: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"port_ranges": port_ranges}
