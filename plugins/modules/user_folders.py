#!/usr/bin/python
"""Folders of the training user, made safely."""
from __future__ import annotations

DOCUMENTATION = r"""
module: user_folders
short_description: Folders of the training user, made safely
description:
  - Makes the missing folders of each path, for a user. Run it as root.
  - Where the user may write in the deepest folder that exists, everything is made as that user, so that it works on shared storage too
    on which root may do nothing.
  - Else root makes the first missing folder, and gives it to the user, provided that root alone can write in the folder that it lies in
    and in all those above. The rest is made as the user.
  - A folder that exists keeps its owner and mode, whoever they are.
options:
  paths:
    description: Absolute paths of the folders.
    type: list
    elements: path
    required: true
  user:
    description: The user.
    type: str
    required: true
  mode:
    description: Permissions of the folders that are made, as text in octal digits.
    type: str
    default: '0755'
attributes:
  check_mode: {support: full, description: Tells what would be made.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Make the folders of the data
  ascend.cluster.user_folders:
    paths: [/shared/dataset/alpaca, /opt/ascend-cluster/runs]
    user: ascend
"""

RETURN = r"""
made:
  description: The folders that were made, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _user_folders
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "user": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0755"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        made = _user_folders.make(given["paths"], given["user"], int(given["mode"], 8), module.check_mode)
    except ValueError:
        module.fail_json(msg=f"mode is {given['mode']!r}, expected octal digits like '0755'.")
    except (FolderError, UserError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(made), made=made)


if __name__ == "__main__":
    main()
