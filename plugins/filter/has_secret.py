"""Whether a url holds a password or a token."""
from __future__ import annotations

DOCUMENTATION = r"""
name: has_secret
short_description: Whether a url holds a password or a token
description:
  - Looks at all texts within lists and mappings; see filter P(ascend.cluster.mask_urls#filter) for what counts.
options:
  _input:
    description: A text, a list or a mapping.
    type: raw
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ conda_env_wheels | ascend.cluster.has_secret }}"
"""

RETURN = r"""
_value:
  description: The answer.
  type: bool
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _secret_urls


def has_secret(value: Any) -> bool:
    """See DOCUMENTATION."""
    return _secret_urls.has_secret(value)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"has_secret": has_secret}
