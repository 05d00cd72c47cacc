"""Name of the archive with CANN's kernels."""
from __future__ import annotations

DOCUMENTATION = r"""
name: cann_kernels_archive
short_description: Name of the archive with CANN's kernels
description:
  - The vendor's name of the archive with the compiled operators, which differs by version.
positional: _input, arch, chip
options:
  _input:
    description: Version of the kernels.
    type: str
    required: true
  arch:
    description: As C(uname -m) prints it.
    type: str
    required: true
  chip:
    description: As the vendor writes it in the name.
    type: str
    default: 910b
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ '9.0.0' | ascend.cluster.cann_kernels_archive('aarch64') }}"  # Ascend-cann-910b-ops_9.0.0_linux-aarch64.run
"""

RETURN = r"""
_value:
  description: The file name.
  type: str
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _cann


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"cann_kernels_archive": _cann.kernels_archive}
