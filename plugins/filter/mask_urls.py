"""A text without the secrets of its urls."""
from __future__ import annotations

DOCUMENTATION = r"""
name: mask_urls
short_description: A text without the secrets of its urls
description:
  - Users and passwords of http and ftp urls, passwords of others, everything behind a C(?), and tokens in paths of conda channels become C(***).
options:
  _input:
    description: The text, or the url.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ conda_env_installer_src | ascend.cluster.mask_urls }}"
"""

RETURN = r"""
_value:
  description: The text to be shown.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _secret_urls


def mask_urls(text: Any) -> str:
    """See DOCUMENTATION."""
    return _secret_urls.mask(str(text))


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"mask_urls": mask_urls}
