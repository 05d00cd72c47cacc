#!/usr/bin/python
"""The commit of a branch or tag of a repository."""
from __future__ import annotations

DOCUMENTATION = r"""
module: git_commit
short_description: The commit of a branch or tag of a repository
description:
  - Asks the repository itself; nothing is fetched.
  - Where a branch and a tag have one name, the tag is meant.
options:
  url:
    description: Where the repository is, without user and password.
    type: str
    required: true
  userinfo:
    description: User and password for the host of O(url), as they stand in a url; they reach no list of processes.
    type: str
    default: ""
  version:
    description: The branch or tag.
    type: str
    required: true
  variables:
    description: Prefix of the names of the variables that say so, for messages.
    type: str
    required: true
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Ask for the commit
  ascend.cluster.git_commit:
    url: https://git.example.com/mirrors/Megatron-LM.git
    version: core_r0.6.0
    variables: megatron
"""

RETURN = r"""
commit: {description: The commit., type: str, returned: success}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._git_checkout import ask_commit, log_words
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree, TreeError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "userinfo": {"type": "str", "default": "", "no_log": True},
            "version": {"type": "str", "required": True},
            "variables": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    module.no_log_values.update(log_words(given["userinfo"]))
    try:
        commit = ask_commit(SourceTree("/"), given["url"], given["userinfo"], given["version"])
    except TreeError as error:
        module.fail_json(msg=f"{given['url']} ({given['variables']}_url) could not be asked for the commit of {given['version']} "
                             f"({given['variables']}_version): {error}. Correct them, or write the full 40 digits of a commit.")
    module.exit_json(changed=False, commit=commit)


if __name__ == "__main__":
    main()
