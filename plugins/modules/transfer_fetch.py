#!/usr/bin/python
"""Fetch files from other nodes by the key of one transfer."""
from __future__ import annotations

DOCUMENTATION = r"""
module: transfer_fetch
short_description: Fetch files from other nodes by the key of one transfer
description:
  - Fetches files by rsync over ssh to the same paths. Each has a name of its own until it is whole, and what a fetch that was killed left is gone on
    with.
  - The folder of the key is removed, whatever comes of it.
  - It is run as the user that fetches.
options:
  folder:
    description: RV(ascend.cluster.transfer_key#module:folder).
    type: path
    required: true
  sources:
    description: C(name), C(address), C(port), C(host_keys) and C(files) of each.
    type: list
    elements: dict
    required: true
  address:
    description: IP address of this node that is connected from.
    type: str
    required: true
  user:
    description: Whom to log in as.
    type: str
    required: true
attributes:
  check_mode: {support: none, description: It is not run then.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Fetch a file
  ascend.cluster.transfer_fetch:
    folder: /tmp/ascend-transfer-x
    sources: [{name: node1, address: 192.0.2.11, port: 22, host_keys: ["ssh-ed25519 AAAA"], files: [/data/a.bin]}]
    address: 192.0.2.12
    user: ascend
"""

RETURN = r"""
fetched:
  description: What travelled from each source, in words.
  type: list
  elements: str
  returned: success
"""

import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _transfer


def fetch(module: AnsibleModule, given: dict[str, Any]) -> list[str]:
    """Fetch from one source after the other."""
    folder, fetched = given["folder"], []
    for name, text in (("ssh_config", _transfer.ssh_config(folder, given["sources"], given["address"], given["user"])),
                       ("known_hosts", _transfer.known_hosts(given["sources"]))):
        with open(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    for number, source in enumerate(given["sources"]):
        if not source["host_keys"]:
            module.fail_json(msg=f"the host keys of {source['name']} are not known: what was to be done there failed, or it has none in /etc/ssh")
        _transfer.take_up(source["files"])
        status, output, errors = module.run_command(_transfer.rsync(folder, number, source["files"]), environ_update={"LC_ALL": "C"})
        if status != 0:
            module.fail_json(msg=f"from {source['name']}, port {source['port']}: {' '.join((errors or output).split())[-2000:]}", rc=status)
        fetched.append(f"{len(source['files'])} files from {source['name']}: {_transfer.travelled(output)} (matched was there already)")
    return fetched


def main() -> None:
    """Entry."""
    module = AnsibleModule(argument_spec={
        "folder": {"type": "path", "required": True},
        "sources": {"type": "list", "elements": "dict", "required": True},
        "address": {"type": "str", "required": True},
        "user": {"type": "str", "required": True},
    })
    try:
        fetched = fetch(module, module.params)
    except OSError as error:
        module.fail_json(msg=str(error))
    finally:
        shutil.rmtree(module.params["folder"], ignore_errors=True)
    module.exit_json(changed=True, fetched=fetched)


if __name__ == "__main__":
    main()
