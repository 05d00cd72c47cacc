#!/usr/bin/python
"""Prove that a git bundle holds the whole history of a commit."""
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_proof
short_description: Prove that a git bundle holds the whole history of a commit
description:
  - A bundle of a shallow or partial clone, of a range, without the commit, or damaged is refused, with words of what to do about it.
  - git itself takes some of these without a word.
options:
  path:
    description: The bundle, on the node. What is needed to unpack it is made in its folder, and removed again.
    type: path
    required: true
  commit:
    description: The commit, 40 digits.
    type: str
    required: true
  source:
    description: Where the bundle comes from, for messages.
    type: str
    required: true
  variables:
    description: Prefix of the names of the variables that say so, for messages.
    type: str
    required: true
attributes:
  check_mode: {support: partial, description: "Looks at nothing: the bundle was not brought."}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Prove the bundle
  ascend.cluster.bundle_proof:
    path: /opt/ascend-cluster/artifacts/megatron.bundle
    commit: 9de386d08770d7296263a590171ace4ae45348ad
    source: "{{ megatron_url }}"
    variables: megatron
"""

RETURN = r"""
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._bundle import BundleError, explain, prove
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import TreeError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "commit": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "variables": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not module.check_mode:
        try:
            prove(Path(given["path"]), given["commit"])
        except BundleError as error:
            module.fail_json(msg=explain(error, given["source"], given["commit"], given["variables"]))
        except (OSError, TreeError) as error:
            module.fail_json(msg=f"{given['path']} cannot be proved: {error}")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
