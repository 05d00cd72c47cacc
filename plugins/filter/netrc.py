"""The users and passwords of urls, as a netrc file."""
from __future__ import annotations

DOCUMENTATION = r"""
name: netrc
short_description: The users and passwords of urls, as a netrc file
description:
  - For pip and conda, which read it from where C(NETRC) of their environment says.
options:
  _input:
    description: The urls; names of channels and empty texts are passed over.
    type: list
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ (conda_env_channels | ascend.cluster.netrc).errors }}"
"""

RETURN = r"""
_value:
  description: C(content) of the file, and C(errors), a sentence for each url that cannot be used so.
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _secret_urls


def netrc(urls: list[str]) -> dict[str, Any]:
    """See DOCUMENTATION."""
    content, errors = _secret_urls.netrc(urls)
    return {"content": content, "errors": errors}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"netrc": netrc}
