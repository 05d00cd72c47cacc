"""SHA-256 of a file on the controller."""
from __future__ import annotations

DOCUMENTATION = r"""
name: file_sha256
short_description: SHA-256 of a file on the controller
description:
  - Works it out once a run, however many nodes ask.
options:
  _input:
    description: Path of the file.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ '/srv/wheelhouse.tar' | ascend.cluster.file_sha256 }}"
"""

RETURN = r"""
_value:
  description: Hex digits.
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.module_utils import _artifact


def file_sha256(path: str) -> str:
    """See DOCUMENTATION."""
    try:
        return _artifact.sha256_once(Path(path))
    except OSError as error:
        raise AnsibleFilterError(f"{path} cannot be read on the controller: {error.strerror}.") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"file_sha256": file_sha256}
