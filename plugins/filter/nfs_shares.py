"""The folders that a data host serves by NFS."""
from __future__ import annotations

DOCUMENTATION = r"""
name: nfs_shares
short_description: The folders that a data host serves by NFS
description:
  - Folds folders into those that they lie in, and lists what cannot be served as asked.
options:
  _input:
    description: Folders that the nodes only read.
    type: list
    required: true
  writable:
    description: Folders that the nodes write.
    type: list
    required: true
  workspace:
    description: The folder that must stay each node's own.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ ['/data/tokenizer', '/data/alpaca'] | ascend.cluster.nfs_shares(['/data/ckpt'], '/opt/ascend-cluster') }}"
"""

RETURN = r"""
_value:
  description: C(folders), each with C(path) and C(access), and C(errors).
  type: dict
"""

from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _nfs


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"nfs_shares": _nfs.nfs_shares}
