"""The SHA-256 that a stack has for a file."""
from __future__ import annotations

DOCUMENTATION = r"""
name: known_sha256
short_description: The SHA-256 that a stack has for a file
description:
  - Looks a file up by its name in what a stack says of hashes (key C(sha256) of a file in stacks/).
positional: _input, src
options:
  _input:
    description: Entries with C(file) and C(sha256), which is null where nobody could read it.
    type: list
    elements: dict
    required: true
  src:
    description: Path or url of the file.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ cluster_stack_data.sha256 | ascend.cluster.known_sha256(cann_toolkit_src) }}"
"""

RETURN = r"""
_value:
  description: The hash, or an empty text.
  type: str
"""

from typing import Any, Iterable, Mapping
from urllib.parse import unquote, urlsplit


def known_sha256(entries: Iterable[Mapping[str, Any]], src: str) -> str:
    """See DOCUMENTATION."""
    name = unquote(urlsplit(str(src)).path).rsplit("/", 1)[-1]
    return next((str(entry["sha256"]) for entry in entries if entry["file"] == name and entry["sha256"]), "")


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"known_sha256": known_sha256}
