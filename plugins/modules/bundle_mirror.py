#!/usr/bin/python
"""A bare repository made of a git bundle."""
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_mirror
short_description: A bare repository made of a git bundle
description:
  - Makes a repository that git can clone and fetch from, of a bundle, and proves that the whole history of one commit is in it.
  - A bundle of a shallow or partial clone, of a range, without the commit, or damaged is refused; then O(dest) stays as it was.
  - The repository is made anew each time, of nothing but the bundle.
options:
  path:
    description: The bundle, on the node.
    type: path
    required: true
  dest:
    description: The bare repository. Its folder must exist.
    type: path
    required: true
  commit:
    description: The commit, 40 digits. The repository's only branch, C(pinned), is this one.
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
  check_mode: {support: partial, description: Looks at nothing and reports a change.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Make a repository of the bundle
  ascend.cluster.bundle_mirror:
    path: /opt/ascend-cluster/artifacts/Megatron-LM.bundle
    dest: /opt/ascend-cluster/artifacts/Megatron-LM.git
    commit: 9de386d08770d7296263a590171ace4ae45348ad
    source: "{{ megatron_url }}"
    variables: megatron
"""

RETURN = r"""
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils._bundle import BundleError, explain, make_mirror
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import TreeError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "commit": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "variables": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not module.check_mode:  # in check mode the bundle was not brought
        try:
            make_mirror(Path(given["path"]), Path(given["dest"]), given["commit"])
        except BundleError as error:
            module.fail_json(msg=explain(error, given["source"], given["commit"], given["variables"]))
        except (OSError, TreeError) as error:
            module.fail_json(msg=f"No repository could be made of {given['path']}: {error}")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
