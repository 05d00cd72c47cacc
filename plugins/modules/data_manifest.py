#!/usr/bin/python
"""Which files a training reads on this node, or how they differ from a list."""
from __future__ import annotations

DOCUMENTATION = r"""
module: data_manifest
short_description: Which files a training reads on this node, or how they differ from a list
description:
  - Hashes the files of the tokenizer, of the dataset and of Megatron's index cache; or, given O(expected) or O(manifest),
    compares them with those. Hidden files are leftovers of an interrupted write, and left out.
  - An unchanged file is read once, where O(state) is given. In check mode nothing is remembered.
  - Files are read as the user, so that storage on which root may do nothing is read too; only what is remembered is root's.
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
  user:
    description: Who reads the files.
    type: str
    required: true
  state:
    description: >-
      A folder that remembers hashes from run to run, by size, times and inode, and what the master's index cache ever had. Where it is not there
      nothing is remembered.
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
    user: ascend
  delegate_to: node1
  run_once: true
  register: master

- name: Compare this node's files with the master's
  ascend.cluster.data_manifest:
    tokenizer: /opt/ascend-cluster/tokenizer
    data: /opt/ascend-cluster/data/alpaca_text_document
    index_cache: /opt/ascend-cluster/data/index-cache
    user: ascend
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
  description: >-
    Paths in the index cache that are not on the list and bear a name that Megatron-LM gives. Beside O(expected), those that the master's index
    cache had once; beside O(manifest), those that came after it.
  type: list
  returned: when files are compared
foreign:
  description: Other paths in the index cache that are not on the list. No training reads them.
  type: list
  returned: when files are compared
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user
from ansible_collections.ascend.cluster.plugins.module_utils._data_manifest import Hashes, ManifestError, compare, inputs, parse, proofs
from ansible_collections.ascend.cluster.plugins.module_utils._index_cache import Record, read_record, write_record


def stock(given: dict[str, Any], hashes: Hashes) -> dict[str, Any]:
    """What there is on this node."""
    paths, missing = inputs(given["tokenizer"], given["data"], given["index_cache"])
    if missing:
        return {"files": {}, "missing": missing, "unreadable": []}
    found = hashes.all(paths)
    return {"files": {path: proof for path, proof in found.items() if not isinstance(proof, OSError)}, "missing": [],
            "unreadable": [f"{path} ({proof.strerror})" for path, proof in found.items() if isinstance(proof, OSError)]}


def look(given: dict[str, Any], hashes: Hashes, record: Record) -> dict[str, Any]:
    """Do what is asked for, as the user: the result, what is known now, or why it failed."""
    try:
        if given["expected"] is not None:
            expected = {path: proof.sha256 for path, proof in proofs(given["expected"]).items()}
            result = compare(expected, given["index_cache"], hashes, record, True)
        elif given["manifest"] is not None:
            try:
                with open(given["manifest"], encoding="utf-8") as file:
                    listed = parse(file.read())
            except (OSError, ValueError, ManifestError) as error:
                return {"failed": f"The list of the data, {given['manifest']}, cannot be used: {error}. playbooks/data_share.yml writes it."}
            result = compare(listed, given["index_cache"], hashes, record, False)
        else:
            result = stock(given, hashes)
    except (ManifestError, OSError) as error:
        return {"failed": str(error)}
    return {"result": result, "known": hashes.known()}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "tokenizer": {"type": "path", "required": True},
            "data": {"type": "path", "required": True},
            "index_cache": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "state": {"type": "path"},
            "expected": {"type": "dict"},
            "same_files": {"type": "dict"},
            "manifest": {"type": "path"},
        },
        mutually_exclusive=[("expected", "manifest")],
        supports_check_mode=True,
    )
    given = module.params
    state = given["state"] if given["state"] is not None and os.path.isdir(given["state"]) else None
    remembered = None if state is None else f"{state}/index_cache.json"
    try:
        hashes = Hashes(state and f"{state}/data_hashes.json", {**proofs(given["expected"] or {}), **proofs(given["same_files"] or {})})
        record = Record() if remembered is None else read_record(remembered)
        answer = as_user(given["user"], look, given, hashes, record)
    except (ManifestError, UserError) as error:
        module.fail_json(msg=str(error))
    if "failed" in answer:
        module.fail_json(msg=answer["failed"])
    result = answer["result"]
    if remembered is not None and not module.check_mode:
        try:
            hashes.save(proofs(answer["known"]))
            if given["expected"] is not None:
                write_record(remembered, record, given["expected"], result["foreign"])
        except OSError as error:
            # The result is right all the same; the next run reads everything again, and removes nothing.
            module.warn(f"Hashes are not remembered: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
