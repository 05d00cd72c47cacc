#!/usr/bin/python
"""A git checkout with the patches of AscendSpeed and the project's hooks."""
from __future__ import annotations

DOCUMENTATION = r"""
module: source_tree
short_description: A git checkout with the patches of AscendSpeed and the project's hooks
description:
  - Tells what of a work tree is ours (patches, hooks) and what somebody else edited.
  - Puts hooks and adaptor into the training script or takes everything of ours away, and never touches anything else.
  - Run it as the owner of the tree; git refuses others.
options:
  path:
    description: The work tree.
    type: path
    required: true
  patches:
    description: Folder below which C(*.patch) files lie that may be applied to the tree - the package of AscendSpeed.
    type: path
  script:
    description: The training script, relative to O(path).
    type: str
    default: pretrain_gpt.py
  hooks:
    description: The hooks that the script shall install, in this order; others are removed.
    type: list
    elements: str
    default: []
  adaptor:
    description: Module that the script shall import after C(import torch), where no patch does it.
    type: str
    default: ""
  exclude:
    description: Patterns that the repository is to overlook, for RV(missing).
    type: list
    elements: str
    default: []
  beside:
    description: Paths below O(path) that are to be there, with a slash at the end of folders, for RV(missing).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(inspected) only looks.
      - V(hooked) gives the script exactly O(hooks) and O(adaptor).
      - V(plain) takes hooks and patches away; refused when there are edits besides.
    type: str
    choices: [inspected, hooked, plain]
    default: inspected
attributes:
  check_mode: {support: full, description: Reports what it would change.}
  diff_mode: {support: full, description: Shows the changed lines of the script.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: See what was edited
  ascend.cluster.source_tree:
    path: /opt/ascend-cluster/Megatron-LM
    patches: /opt/ascend-cluster/AscendSpeed/ascendspeed
  register: tree

- name: Install the hook for deterministic computation
  ascend.cluster.source_tree:
    path: /opt/ascend-cluster/Megatron-LM
    hooks: [deterministic]
    state: hooked
"""

RETURN = r"""
path: {description: The work tree., type: str, returned: always}
exists: {description: Whether the path exists., type: bool, returned: always}
repository: {description: Whether it is a git work tree., type: bool, returned: always}
empty: {description: Whether it is absent or an empty folder., type: bool, returned: always}
commit: {description: The commit that is checked out., type: str, returned: always}
edits: {description: Tracked files that differ from the commit by more than patches and hooks., type: list, returned: always}
untracked: {description: Files that git neither tracks nor ignores., type: list, returned: always}
ours: {description: Files that differ from the commit by patches and hooks alone., type: list, returned: always}
patches: {description: C(path) and C(applied) of each patch., type: list, returned: always}
hooks: {description: Names of the hooks that the script installs., type: list, returned: always}
imports: {description: Dotted names that the script imports at its top level., type: list, returned: always}
missing: {description: What is not there of O(beside), and the file of patterns where O(exclude) is not in it., type: list, returned: always}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree, TreeError, insert_hooks


def hook(tree: SourceTree, names: list[str], adaptor: str, dry: bool) -> dict[str, Any]:
    """Give the script exactly the hooks ``names``. Returns changed and diff."""
    path = tree.path / tree.script
    before = tree.script_text()
    if not before:
        raise TreeError(f"{path} does not exist or is empty")
    after = insert_hooks(before, names, adaptor)
    if after != before and not dry:
        path.write_bytes(after.encode())
    diff = {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
    return {"changed": after != before, "diff": diff}


def plain(tree: SourceTree, dry: bool) -> dict[str, Any]:
    """Take everything of ours away. Returns changed and the list of files."""
    ours = tree.only_ours()
    if not dry:
        tree.restore(ours)
    return {"changed": bool(ours), "diff": {"before": "\n".join(ours) + "\n" if ours else "", "after": ""}}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "patches": {"type": "path"},
            "script": {"type": "str", "default": "pretrain_gpt.py"},
            "hooks": {"type": "list", "elements": "str", "default": []},
            "adaptor": {"type": "str", "default": ""},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "beside": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "default": "inspected", "choices": ["inspected", "hooked", "plain"]},
        },
        supports_check_mode=True,
    )
    given = module.params
    result: dict[str, Any] = {"changed": False}
    try:
        tree = SourceTree(given["path"], given["patches"], given["script"])
        if given["state"] == "hooked":
            result = hook(tree, given["hooks"], given["adaptor"], module.check_mode)
        elif given["state"] == "plain":
            result = plain(tree, module.check_mode)
        result.update(tree.inspect(given["exclude"], given["beside"]))
    except (OSError, TreeError) as error:
        module.fail_json(msg=f"{given['path']}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
