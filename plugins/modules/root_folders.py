#!/usr/bin/python
"""Folders that root writes in and runs programs from."""
from __future__ import annotations

DOCUMENTATION = r"""
module: root_folders
short_description: Folders that root writes in and runs programs from
description:
  - Makes the folders for root alone, and refuses those that somebody else could change or replace. Run it as root.
  - What earlier versions gave to the training user is taken back, see plugins/module_utils/_root_folders.py.
options:
  paths:
    description: Absolute paths of the folders; one that lies in another comes after it.
    type: list
    elements: path
    required: true
  files:
    description: Files in them that root writes, where there are any; C(FOLDER/*) for all that lies directly in a folder.
    type: list
    elements: path
    default: []
  user:
    description: The training user.
    type: str
    required: true
attributes:
  check_mode: {support: full, description: Tells what would change.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Have a folder for archives
  ascend.cluster.root_folders:
    paths: [/opt/ascend-cluster, /opt/ascend-cluster/artifacts]
    files: [/opt/ascend-cluster/artifacts/*]
    user: ascend
"""

RETURN = r"""
taken:
  description: What was made or taken back, or in check mode would be; C(folder PATH) and C(file PATH).
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _root_folders
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "user": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        taken = _root_folders.own(given["paths"], given["files"], given["user"], module.check_mode)
    except FolderError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file in ' + ', '.join(given['paths'])} cannot be taken back from {given['user']}: {error.strerror}.")
    module.exit_json(changed=bool(taken), taken=taken)


if __name__ == "__main__":
    main()
