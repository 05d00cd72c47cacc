#!/usr/bin/python
"""Have exactly these folders of an NFS server mounted on a node, now and at every boot."""
from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_mounts
short_description: Have exactly these folders of an NFS server mounted on a node, now and at every boot
description:
  - Mounts folders at the same paths as on the server, by version 4, and takes away other mounts that this module made. Its block in
    /etc/fstab says which those are; what others mounted is never touched.
  - A folder that is missing is made as the user. A path that leads through a link is refused.
  - With O(state=proved) it reads and writes in them as the user instead, and leaves a file in each writable one, which
    O(state=collected) looks for and removes on the server.
  - It is run as root.
options:
  folders:
    description: The folders, each with C(path) and C(access), C(ro) or C(rw).
    type: list
    elements: dict
    required: true
  state:
    description:
      - V(mounted), exactly these; V(left), none but these (of those that are mounted, those not named are taken away);
        V(proved), these can be used, or V(collected), on the server.
    type: str
    choices: [mounted, left, proved, collected]
    default: mounted
  node:
    description: Name of this node, for messages.
    type: str
    default: this node
  server:
    description: Name of the server, for messages.
    type: str
    default: ""
  address:
    description: IP address of the server.
    type: str
    default: ""
  options:
    description: Options of the mounts; V(ro) or V(rw) is added.
    type: str
    default: vers=4
  timeout:
    description: Seconds that one call to the server may take.
    type: int
    default: 60
  user:
    description: Whose folders they are.
    type: str
    required: true
  probes:
    description: Names of the files that are written to prove the mounts; for V(proved) one.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full, description: Tells what would be changed.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Mount the checkpoints
  ascend.cluster.nfs_mounts:
    folders: [{path: /shared/ckpt, access: rw}]
    server: node1
    address: 192.0.2.11
    user: ascend
"""

RETURN = r"""
changes:
  description: What was changed, or would be, in words.
  type: list
  elements: str
  returned: always
hidden:
  description: Folders that have files of their own, which a mount hides.
  type: list
  elements: str
  returned: success
serves:
  description: Whether this node itself has exports that M(ascend.cluster.nfs_exports) made.
  type: bool
  returned: success
"""

import os
import socket
import tempfile
from typing import Any, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _nfs_exports, _nfs_mounts, _user_folders
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user


def client(module: AnsibleModule) -> _nfs_mounts.Client:
    """The client of this machine."""
    def run(words: Sequence[str]) -> _nfs_mounts.Answer:
        answer: _nfs_mounts.Answer = module.run_command(list(words), environ_update={"LC_ALL": "C", "PATH": _nfs_exports.path()})
        return answer

    def reach(address: str) -> bool:
        try:
            with socket.create_connection((address, 2049), timeout=10):
                return True
        except OSError:
            return False

    def make(path: str) -> None:
        _user_folders.make([path], module.params["user"], 0o755, False)

    def write(text: str) -> None:
        handle, temporary = tempfile.mkstemp(dir="/etc")
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        module.atomic_move(temporary, "/etc/fstab")
        run(["systemctl", "daemon-reload"])

    return _nfs_mounts.Client(run, module.params["timeout"], module.check_mode, reach, make, write, _nfs_exports.read, _nfs_mounts.users_of)


def collect(paths: Sequence[str]) -> list[str]:
    """Remove files, and return those that cannot be. Runs as the user whose folders they lie in."""
    lost = []
    for path in paths:
        try:
            os.unlink(path)
        except OSError as error:
            lost.append(f"{path} ({error.strerror})")
    return lost


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "required": True},
            "state": {"type": "str", "choices": ["mounted", "left", "proved", "collected"], "default": "mounted"},
            "node": {"type": "str", "default": "this node"},
            "server": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "options": {"type": "str", "default": "vers=4"},
            "timeout": {"type": "int", "default": 60},
            "user": {"type": "str", "required": True},
            "probes": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    folders, state = given["folders"], given["state"]
    if state == "collected":
        files = [f"{folder['path']}/{probe}" for folder in folders if folder["access"] == "rw" for probe in given["probes"]]
        try:
            lost = as_user(given["user"], collect, files) if files and not module.check_mode else []
        except UserError as error:
            module.fail_json(msg=str(error))
        if lost:
            module.fail_json(msg=f"{given['server']}, the data host, does not have what the nodes wrote into their mounts: {', '.join(lost[:3])}"
                                 f"{f' and {len(lost) - 3} more' if len(lost) > 3 else ''}. Is something mounted over these folders there?")
        module.exit_json(changed=False, changes=[])
    work = client(module)
    if state == "mounted":
        work.mount(folders, given["server"], given["address"], given["options"])
    elif state == "left":
        work.leave([folder["path"] for folder in folders])
    elif not module.check_mode:
        work.prove(folders, given["server"], given["address"], given["user"], given["probes"][0])
    if work.errors:
        module.fail_json(msg=f"{given['node']}: {'; '.join(work.errors)}.", changed=bool(work.changes), changes=work.changes)
    module.exit_json(changed=bool(work.changes), changes=work.changes, hidden=work.hidden, serves=os.path.exists(_nfs_exports.EXPORTS))


if __name__ == "__main__":
    main()
