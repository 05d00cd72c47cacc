#!/usr/bin/python
"""Serve exactly these folders by NFS to exactly these addresses."""
from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_exports
short_description: Serve exactly these folders by NFS to exactly these addresses
description:
  - Writes a file of exports of its own, has the server run at every boot, and lets the addresses in through a firewalld or ufw that runs.
    Other exports and other rules are left alone.
  - Where nobody else uses the server it is limited to version 4 and to one address.
  - It is run as root.
options:
  state:
    description: V(present), or V(absent) where nothing of it is to stay.
    type: str
    choices: [present, absent]
    default: present
  server:
    description: Name of this host, for messages.
    type: str
    default: this host
  folders:
    description: The folders, each with C(path) and C(access), C(ro) or C(rw).
    type: list
    elements: dict
    default: []
  clients:
    description: IP addresses of those who mount them.
    type: list
    elements: str
    default: []
  address:
    description: IP address where alone the server listens.
    type: str
    default: ""
  threads:
    description: Threads of the server.
    type: int
    default: 32
attributes:
  check_mode: {support: full, description: Tells what would be changed.}
  diff_mode: {support: none, description: There is none.}
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Serve the checkpoints to two nodes
  ascend.cluster.nfs_exports:
    folders: [{path: /shared/ckpt, access: rw}]
    clients: [192.0.2.12, "2001:db8::13"]
    address: 192.0.2.11
"""

RETURN = r"""
changes:
  description: What was changed, or would be, in words.
  type: list
  elements: str
  returned: always
others:
  description: How many exports the site has there of its own.
  type: int
  returned: success
"""

import contextlib
import glob
import os
import tempfile
from typing import Any, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _nfs_exports, _nfs_firewall
from ansible_collections.ascend.cluster.plugins.module_utils._addresses import canonical


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "server": {"type": "str", "default": "this host"},
            "folders": {"type": "list", "elements": "dict", "default": []},
            "clients": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str", "default": ""},
            "threads": {"type": "int", "default": 32},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params

    def run(words: Sequence[str]) -> _nfs_exports.Answer:
        answer: _nfs_exports.Answer = module.run_command(list(words), environ_update={"LC_ALL": "C", "PATH": _nfs_exports.path()}, handle_exceptions=False)
        return answer

    def run_if_there(words: Sequence[str]) -> _nfs_exports.Answer:
        return run(words) if module.get_bin_path(words[0], opt_dirs=["/usr/sbin", "/sbin"]) else (127, "", "")

    def write(name: str, text: str) -> None:
        os.makedirs(os.path.dirname(name), 0o755, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(name))
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, name)

    def remove(name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)

    present = given["state"] == "present"
    addresses = [canonical(text) for text in [given["address"], *given["clients"]]] if present else []
    if not all(addresses):
        module.fail_json(msg=f"Expected IP addresses, found {[given['address'], *given['clients']]}.", changes=[])
    listed = {name: _nfs_exports.read(name) for name in ["/etc/exports", *glob.glob("/etc/exports.d/*.exports")]}
    server = _nfs_exports.Server(run_if_there, module.check_mode, _nfs_exports.read, write, remove)
    firewall = _nfs_firewall.Firewall(run_if_there, module.check_mode, _nfs_exports.read(_nfs_firewall.RECORD), lambda text: write(_nfs_firewall.RECORD, text))
    others = _nfs_exports.others(listed)
    if present:
        server.serve(given["folders"], addresses[1:], addresses[0], given["threads"], others == 0)
    else:
        server.leave()
    if not server.errors:
        firewall.settle(addresses[1:])
    changes, errors = server.changes + firewall.changes, server.errors + firewall.errors
    if errors:
        module.fail_json(msg=f"{given['server']}, the data host: {'; '.join(errors)}.", changed=bool(changes), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes, others=others)


if __name__ == "__main__":
    main()
