"""A url and its secret, apart."""
from __future__ import annotations

DOCUMENTATION = r"""
name: split_url
short_description: A url and its secret, apart
description:
  - For programs that show their arguments to everybody. What is no url is returned as it is.
options:
  _input:
    description: The url.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ (megatron_url | ascend.cluster.split_url).url }}"
"""

RETURN = r"""
_value:
  description: C(url) without user and password, C(userinfo) as written before the C(@), and C(error), why the url cannot be used, or empty.
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _secret_urls


def split_url(url: str) -> dict[str, str]:
    """See DOCUMENTATION."""
    return _secret_urls.split(url)._asdict()


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"split_url": split_url}
