#!/usr/bin/python
"""Which CANN is installed, and which of several counts."""
from __future__ import annotations

DOCUMENTATION = r"""
module: cann_state
short_description: Which CANN is installed, and which of several counts
description:
  - Reads the records that the vendor's installers leave, for the version to which the paths given lead, and names the other
    versions beside it. Changes nothing.
options:
  install_path:
    description: Folder below which all versions are installed.
    type: path
    required: true
  home:
    description: Folder of the layout, C(ascend-toolkit) up to 8.4 and C(cann-<version>) from 8.5 on.
    type: path
    required: true
  latest:
    description: Folder of the version in use.
    type: path
    required: true
  info:
    description: Record of the toolkit, with the line C(version=).
    type: path
    required: true
  kernels_info:
    description: Record of the kernels, with a line C(version_dir=) or C(version=). The other known records are read where it is not there.
    type: path
    required: true
  record:
    description: The vendor's note of where CANN was installed last.
    type: path
    default: /etc/Ascend/ascend_cann_install.info
  note:
    description: Our own note of what is installed.
    type: path
    required: true
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Look which CANN is installed
  ascend.cluster.cann_state:
    install_path: /usr/local/Ascend
    home: /usr/local/Ascend/cann-9.0.0
    latest: /usr/local/Ascend/cann-9.0.0
    info: /usr/local/Ascend/cann-9.0.0/aarch64-linux/ascend_toolkit_install.info
    kernels_info: /usr/local/Ascend/cann-9.0.0/aarch64-linux/ascend_ops_install.info
    note: /opt/ascend-cluster/state/cann_toolkit.txt
  register: cann
"""

RETURN = r"""
toolkit:
  description: Version of the toolkit, empty when there is none.
  type: str
  returned: always
kernels:
  description: Version of the kernels, empty when there are none.
  type: str
  returned: always
leads_to:
  description: Version to which a link leads out of O(home), which counts as none; else empty.
  type: str
  returned: always
installed:
  description: Version and folder of every CANN below O(install_path).
  type: list
  elements: dict
  returned: always
elsewhere:
  description: Path that the vendor's note names, where it is not below O(install_path); else empty.
  type: str
  returned: always
noted:
  description: What our own note says, empty where there is none.
  type: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _cann


def main() -> None:
    """Entry."""
    names = ("install_path", "home", "latest", "info", "kernels_info", "note")
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "path", "required": True} for name in names},
            "record": {"type": "path", "default": "/etc/Ascend/ascend_cann_install.info"},
        },
        supports_check_mode=True,
    )
    note = Path(module.params.pop("note"))
    module.exit_json(changed=False, noted=note.read_text(encoding="utf-8") if note.exists() else "", **_cann.state(**module.params))


if __name__ == "__main__":
    main()
