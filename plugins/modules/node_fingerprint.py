#!/usr/bin/python
"""What is installed on this node, in comparable form."""
from __future__ import annotations

DOCUMENTATION = r"""
module: node_fingerprint
short_description: What is installed on this node, in comparable form
description:
  - Names the commit and the local changes of repositories, the content of files and the packages of Pythons, so that nodes
    can be compared with each other and a run can be named after what it runs. Changes nothing.
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
  pythons:
    description: Names and paths of interpreters, whose packages then count together with their versions.
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
    pythons: {packages: /opt/ascend-cluster/conda/envs/test/bin/python}
  become: true
  become_user: ascend
  register: fingerprint
"""

RETURN = r"""
components:
  description: >-
    For a repository its commit and the sha256 of its changes; for a file its sha256; for an interpreter that of its packages;
    C(absent) for what is not there.
  type: dict
  returned: always
"""

import hashlib
import os

from ansible.module_utils.basic import AnsibleModule

#: name and version of every package that the interpreter would find, in the folder `/`
PACKAGES = """
from importlib import metadata
print("\\n".join(sorted({"%s %s" % (one.metadata["Name"], one.version) for one in metadata.distributions()})))
"""


def of_file(path: str) -> str:
    """Shortened sha256 of a file, or of the names and content of the Python files below a folder; "absent" when there are none.

    Raises:
        OSError: it is there and cannot be read.
    """
    names = [""]
    if os.path.isdir(path):
        names = sorted(os.path.relpath(os.path.join(folder, name), path)
                       for folder, _, files in os.walk(path) for name in files if name.endswith(".py"))
    digest = hashlib.sha256()
    try:
        for name in names:
            with open(os.path.join(path, name) if name else path, "rb") as file:
                content = file.read()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    except FileNotFoundError:
        return "absent"
    return digest.hexdigest()[:16] if names else "absent"


def of_repository(module: AnsibleModule, path: str) -> str:
    """Commit of a checkout, with the shortened sha256 of its changes where there are any."""
    git = ["git", "-C", path]
    rc, commit, _ = module.run_command([*git, "rev-parse", "HEAD"])
    if rc != 0:
        return "absent"
    # Whole hashes: how far git shortens them depends on how many objects the repository holds, and they stand for the content of
    # binary files too. The rest keeps the user's settings out.
    rc, changes, err = module.run_command([*git, "-c", "core.quotePath=true", "diff", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color",
                                           "--no-renames", "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers", "--unified=3", "HEAD"])
    if rc != 0:
        module.fail_json(msg=f"git diff in {path} failed: {err.strip()}")
    return str(commit.strip()) + (f"+{hashlib.sha256(changes.encode()).hexdigest()[:16]}" if changes else "")


def of_python(module: AnsibleModule, path: str) -> str:
    """Shortened sha256 of the packages that an interpreter finds.

    Asked of itself: what a list holds that was written once depends on which roles had installed something before.
    """
    if not os.path.exists(path):
        return "absent"
    rc, packages, err = module.run_command([path, "-B", "-c", PACKAGES], cwd="/")
    if rc != 0:
        module.fail_json(msg=f"{path} could not list its packages, it ended with status {rc}: {(err or packages).strip()}. "
                             "Run playbooks/conda_env.yml.")
    return hashlib.sha256(packages.encode()).hexdigest()[:16]


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "repositories": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "pythons": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    components = {name: of_repository(module, str(path)) for name, path in module.params["repositories"].items()}
    try:
        components.update({name: of_file(str(path)) for name, path in module.params["files"].items()})
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be read ({error.strerror}): it must be readable for the user that trains (cluster_user).")
    components.update({name: of_python(module, str(path)) for name, path in module.params["pythons"].items()})
    module.exit_json(changed=False, components=components)


if __name__ == "__main__":
    main()
