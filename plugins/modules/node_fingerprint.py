#!/usr/bin/python
"""What is installed on this node, in comparable form."""
from __future__ import annotations

DOCUMENTATION = r"""
module: node_fingerprint
short_description: What is installed on this node, in comparable form
description:
  - Names the commit and the local changes of repositories and the content of files, so that nodes can be compared with
    each other and a run can be named after what it runs. Changes nothing.
  - Run it as the owner of the repositories, since git refuses the trees of others.
options:
  repositories:
    description: Names and folders of git checkouts.
    type: dict
    default: {}
  files:
    description: Names and paths of files, or of folders, whose Python files then count together.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Fingerprint what is installed
  ascend.cluster.node_fingerprint:
    repositories: {megatron: /opt/ascend-cluster/Megatron-LM}
    files: {cann_toolkit: /opt/ascend-cluster/state/cann_toolkit.txt}
  become: true
  become_user: ascend
  register: fingerprint
"""

RETURN = r"""
components:
  description: >-
    For a repository its commit and the sha256 of its changes; for a file its sha256; C(absent) for what is not there.
  type: dict
  returned: always
"""

import hashlib
import os

from ansible.module_utils.basic import AnsibleModule


def of_file(path: str) -> str:
    """Shortened sha256 of a file, or of the Python files below a folder; "absent" when there are none."""
    paths = [path]
    if os.path.isdir(path):
        paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names if name.endswith(".py"))
    digest = hashlib.sha256()
    try:
        for one in paths:
            with open(one, "rb") as file:
                digest.update(file.read())
    except OSError:
        return "absent"
    return digest.hexdigest()[:16] if paths else "absent"


def of_repository(module: AnsibleModule, path: str) -> str:
    """Commit of a checkout, with the shortened sha256 of its changes where there are any."""
    git = ["git", "-C", path]
    rc, commit, _ = module.run_command([*git, "rev-parse", "HEAD"])
    if rc != 0:
        return "absent"
    rc, changes, err = module.run_command([*git, "diff", "HEAD"])
    if rc != 0:
        module.fail_json(msg=f"git diff in {path} failed: {err.strip()}")
    return str(commit.strip()) + (f"+{hashlib.sha256(changes.encode()).hexdigest()[:16]}" if changes else "")


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "repositories": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    components = {name: of_repository(module, str(path)) for name, path in module.params["repositories"].items()}
    components.update({name: of_file(str(path)) for name, path in module.params["files"].items()})
    module.exit_json(changed=False, components=components)


if __name__ == "__main__":
    main()
