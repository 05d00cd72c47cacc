#!/usr/bin/python
"""Which files a training reads on this node, or how they differ from a list."""
from __future__ import annotations

DOCUMENTATION = r"""
module: data_manifest
short_description: Which files a training reads on this node, or how they differ from a list
description:
  - Hashes the files of the tokenizer, of the dataset and of Megatron's index cache; or, given O(expected) or O(manifest),
    compares them with those. Hidden files are leftovers of an interrupted write, and left out.
  - An unchanged file is read once, where O(hashes) is given. In check mode nothing is remembered.
options:
  tokenizer:
    description: Folder of the tokenizer.
    type: path
    required: true
  data:
    description: The dataset without its ending; C(.bin), C(.idx) and C(.manifest.json) belong to it.
    type: path
    required: true
  index_cache:
    description: Folder of Megatron's index cache.
    type: path
    required: true
  hashes:
    description: A file that remembers hashes from run to run, by size, times and inode. Its folder must be there.
    type: path
  expected:
    description: RV(files) of another node, to compare with.
    type: dict
  same_files:
    description: >-
      RV(files) of the node that serves the files, where that is not the one of O(expected): a file that is the same one on
      shared storage need not be read again.
    type: dict
  manifest:
    description: A list as sha256sum writes it, to compare with.
    type: path
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Hash the data on the master
  ascend.cluster.data_manifest:
    tokenizer: /opt/ascend-cluster/tokenizer
    data: /opt/ascend-cluster/data/alpaca_text_document
    index_cache: /opt/ascend-cluster/data/index-cache
  delegate_to: node1
  run_once: true
  register: master

- name: Compare this node's files with the master's
  ascend.cluster.data_manifest:
    tokenizer: /opt/ascend-cluster/tokenizer
    data: /opt/ascend-cluster/data/alpaca_text_document
    index_cache: /opt/ascend-cluster/data/index-cache
    expected: "{{ master.files }}"
  register: difference
"""

RETURN = r"""
files:
  description: Path to SHA-256 and identity (size, times of modification and of change in ns, inode), of what can be read.
  type: dict
  returned: always
missing:
  description: Paths that are not there; when nothing is compared, with the playbook that makes them.
  type: list
  returned: always
differing:
  description: Paths with other content.
  type: list
  returned: when files are compared
unreadable:
  description: Paths that cannot be read, with the reason.
  type: list
  returned: always
extra:
  description: Paths in the index cache that are not on the list.
  type: list
  returned: when files are compared
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._data_manifest import Hashes, ManifestError, compare, inputs, parse, proofs


def stock(given: dict[str, Any], hashes: Hashes) -> dict[str, Any]:
    """What there is on this node."""
    paths, missing = inputs(given["tokenizer"], given["data"], given["index_cache"])
    if missing:
        return {"files": {}, "missing": missing, "unreadable": []}
    found = hashes.all(paths)
    return {"files": {path: proof for path, proof in found.items() if not isinstance(proof, OSError)}, "missing": [],
            "unreadable": [f"{path} ({proof.strerror})" for path, proof in found.items() if isinstance(proof, OSError)]}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "tokenizer": {"type": "path", "required": True},
            "data": {"type": "path", "required": True},
            "index_cache": {"type": "path", "required": True},
            "hashes": {"type": "path"},
            "expected": {"type": "dict"},
            "same_files": {"type": "dict"},
            "manifest": {"type": "path"},
        },
        mutually_exclusive=[("expected", "manifest")],
        supports_check_mode=True,
    )
    given = module.params
    try:
        expected = proofs(given["expected"] or {})
        hashes = Hashes(given["hashes"], {**expected, **proofs(given["same_files"] or {})})
        if given["expected"] is not None:
            result = compare({path: proof.sha256 for path, proof in expected.items()}, given["index_cache"], hashes)
        elif given["manifest"] is not None:
            try:
                with open(given["manifest"], encoding="utf-8") as file:
                    listed = parse(file.read())
            except (OSError, ValueError, ManifestError) as error:
                module.fail_json(msg=f"The list of the data, {given['manifest']}, cannot be used: {error}. playbooks/data_share.yml writes it.")
            result = compare(listed, given["index_cache"], hashes)
        else:
            result = stock(given, hashes)
        if given["hashes"] is not None and not module.check_mode and os.path.isdir(os.path.dirname(given["hashes"])):
            try:
                hashes.save()
            except OSError as error:
                # The result is right all the same; the next run reads everything again.
                module.warn(f"Hashes are not remembered: {error}")
    except (ManifestError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
