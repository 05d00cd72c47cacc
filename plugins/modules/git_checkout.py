#!/usr/bin/python
"""Bring a git work tree to a commit."""
from __future__ import annotations

DOCUMENTATION = r"""
module: git_checkout
short_description: Bring a git work tree to a commit
description:
  - Fetches the commit where it is not there, takes patches and hooks of ours away, checks the commit out, and makes what is to lie
    beside the sources. Edits and files of others end it before anything is changed.
  - User and password of a url are seen in no list of processes and in no file.
  - Run it as the owner of the tree; git refuses others.
options:
  path:
    description: The work tree. The folder must be there.
    type: path
    required: true
  url:
    description: Where the repository is, without user and password.
    type: str
    required: true
  userinfo:
    description: User and password for the host of O(url), as they stand in a url.
    type: str
    default: ""
  bundle:
    description: A bundle on the node that holds the whole history of O(commit), to be taken instead of O(url).
    type: path
    default: ""
  commit:
    description: The commit, 40 digits.
    type: str
    required: true
  patches:
    description: Folder below which C(*.patch) files lie that may be applied to the tree.
    type: path
  exclude:
    description: Patterns that the repository is to overlook.
    type: list
    elements: str
    default: []
  beside:
    description: Paths below O(path) that are to be there - an empty file, or with a slash at the end a folder. What is there stays.
    type: list
    elements: str
    default: []
  variables:
    description: Prefix of the names of the variables that say so, for messages.
    type: str
    required: true
  host:
    description: Name of the node, for messages.
    type: str
    required: true
attributes:
  check_mode: {support: full, description: Reports whether it would change something.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Check the commit out
  ascend.cluster.git_checkout:
    path: /opt/ascend-cluster/Megatron-LM
    url: https://git.example.com/mirrors/Megatron-LM.git
    commit: 9de386d08770d7296263a590171ace4ae45348ad
    variables: megatron
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
path: {description: "The work tree; this and all that M(ascend.cluster.source_tree) returns tells how it is now.", type: str, returned: success}
"""

import getpass

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._git_checkout import bring, log_words, refusal
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree, TreeError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "userinfo": {"type": "str", "default": "", "no_log": True},
            "bundle": {"type": "path", "default": ""},
            "commit": {"type": "str", "required": True},
            "patches": {"type": "path"},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "beside": {"type": "list", "elements": "str", "default": []},
            "variables": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    module.no_log_values.update(log_words(given["userinfo"]))
    tree = SourceTree(given["path"], given["patches"])
    try:
        changed = bring(tree, given, module.check_mode)
        result = tree.inspect(given["exclude"], given["beside"])
    except (OSError, TreeError) as error:
        module.fail_json(msg=refusal(given, given["host"], getpass.getuser(), str(error)))
    module.exit_json(changed=changed, **result)


if __name__ == "__main__":
    main()
