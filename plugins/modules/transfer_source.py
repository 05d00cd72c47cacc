#!/usr/bin/python
"""Let other nodes fetch files from this one, or no longer."""
from __future__ import annotations

DOCUMENTATION = r"""
module: transfer_source
short_description: Let other nodes fetch files from this one, or no longer
description:
  - Puts the program that the keys are limited to in its place, which only root may be able to write, and the keys into the user's
    authorised ones, as that user. A key is good from one address, for the files named, and for 24 hours.
  - Keys of an earlier transfer are removed, whatever became of it.
  - It is run as root.
options:
  user:
    description: Whom the others log in as.
    type: str
    required: true
  keys:
    description: C(key), C(address) and C(files) of each that is let in; none, where nobody is.
    type: list
    elements: dict
    default: []
    no_log: false
  program:
    description: Path of the program.
    type: path
    default: ""
  content:
    description: Text of the program.
    type: str
    default: ""
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Let node2 fetch a file
  ascend.cluster.transfer_source:
    user: ascend
    keys: [{key: "ssh-ed25519 AAAA", address: 192.0.2.12, files: [/data/a.bin]}]
    program: /opt/ascend-cluster/bin/ascend-data-sender
    content: "{{ lookup('ansible.builtin.file', 'ascend-data-sender') }}"

- name: Let nobody fetch any more
  ascend.cluster.transfer_source:
    user: ascend
"""

RETURN = r"""
host_keys:
  description: Public host keys of the ssh server.
  type: list
  elements: str
  returned: success
port:
  description: Port of the ssh server at which Ansible's own connection came in, 0 where it came in otherwise.
  type: int
  returned: success
"""

import os
import pwd
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _transfer
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError, walk


def place(program: str, content: str) -> bool:
    """Have the program in a folder that root alone can write; returns whether it was written.

    Raises:
        FolderError: somebody else could change what lies there.
        OSError: it cannot be written.
    """
    folder, name = os.path.split(program)
    with walk(folder) as way:
        if way.unsafe or way.rest:
            raise FolderError(f"{program} would be run for other nodes by ssh, and {way.unsafe or f'{os.path.join(way.at, way.rest[0])} is not there'}: "
                              f"expected a folder in which root alone can write, as all those above it. Run playbooks/node_base.yml, make {way.at} root's "
                              "(chown root:root, chmod go-w), or set cluster_workspace to a place that is.")
        try:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=way.fd), encoding="utf-8") as file:
                found = os.fstat(file.fileno())
                if file.read() == content and (found.st_uid, found.st_mode & 0o7777) == (0, 0o755):
                    return False
        except (FileNotFoundError, UnicodeDecodeError):
            pass
        handle, temporary = tempfile.mkstemp(dir=way.at)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(temporary, 0o755)  # noqa: S103  # others run it, by ssh
        os.replace(temporary, program)
    return True


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
            "program": {"type": "path", "default": ""},
            "content": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        home = pwd.getpwnam(given["user"]).pw_dir
    except KeyError:
        module.fail_json(msg=f"There is no user {given['user']}: set node_transfer_ssh_user to one that is on every node")
    changed = False
    try:
        if not module.check_mode:
            changed = place(given["program"], given["content"]) if given["keys"] else False
            lines = [_transfer.key_line(item["key"], item["address"], item["files"], given["program"], time.time()) for item in given["keys"]]
            changed = as_user(given["user"], _transfer.authorise, home, lines) or changed
        keys = _transfer.host_keys()
    except (FolderError, UserError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, host_keys=keys, port=_transfer.server_port(os.getpid()))


if __name__ == "__main__":
    main()
