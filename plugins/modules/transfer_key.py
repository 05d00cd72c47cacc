#!/usr/bin/python
"""Make a key for one transfer of files."""
from __future__ import annotations

DOCUMENTATION = r"""
module: transfer_key
short_description: Make a key for one transfer of files
description:
  - Makes a pair of keys in a folder of its own, and removes what an earlier transfer that was killed left of the same user.
  - It is run as the user that fetches. M(ascend.cluster.transfer_fetch) removes the folder.
options:
  comment:
    description: Comment of the key.
    type: str
    required: true
attributes:
  check_mode: {support: none, description: It is not run then.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Make a key
  ascend.cluster.transfer_key:
    comment: ascend-transfer-node2
"""

RETURN = r"""
folder:
  description: The folder.
  type: str
  returned: success
public_key:
  description: The public key.
  type: str
  returned: success
"""

import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _transfer


def main() -> None:
    """Entry."""
    module = AnsibleModule(argument_spec={"comment": {"type": "str", "required": True}})
    folder = _transfer.new_folder(tempfile.gettempdir())
    status, output, errors = module.run_command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", module.params["comment"], "-f", f"{folder}/key"])
    if status != 0:
        shutil.rmtree(folder, ignore_errors=True)
        module.fail_json(msg=f"ssh-keygen failed: {' '.join((errors or output).split())}")
    with open(f"{folder}/key.pub", encoding="utf-8") as file:
        module.exit_json(changed=True, folder=folder, public_key=file.read().strip())


if __name__ == "__main__":
    main()
