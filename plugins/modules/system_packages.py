#!/usr/bin/python
"""Have packages of the distribution installed, by the system's own commands."""
from __future__ import annotations

DOCUMENTATION = r"""
module: system_packages
short_description: Have packages of the distribution installed, by the system's own commands
description:
  - Asks C(rpm) or C(dpkg-query) which packages are missing, and lets C(dnf) (C(yum) where there is none) or C(apt-get) install those.
  - Unlike M(ansible.builtin.package) it needs no bindings for the Python that Ansible runs under.
options:
  names:
    description: Packages that must be installed.
    type: list
    elements: str
    required: true
  manager:
    description: Which database of packages the system has.
    type: str
    choices: [rpm, dpkg]
    required: true
  root:
    description: Look and install below this folder, with the package sources configured there. For C(rpm) only.
    type: path
    default: ""
attributes:
  check_mode:
    description: Installs nothing.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Have git and make
  ascend.cluster.system_packages:
    names: [git, make]
    manager: rpm
"""

RETURN = r"""
missing:
  description: The packages that were not there, and are installed now (in check mode would be).
  type: list
  elements: str
  returned: success
"""

from typing import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _system_packages

_PROGRAMS = {"rpm": ("dnf", "yum"), "dpkg": ("apt-get",)}


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "manager": {"type": "str", "choices": ["rpm", "dpkg"], "required": True},
            "root": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    manager, root = module.params["manager"], module.params["root"]
    if manager == "dpkg" and root:
        module.fail_json(msg="root goes with manager rpm only")

    def run(words: Sequence[str]) -> _system_packages.Answer:
        answer: _system_packages.Answer = module.run_command(list(words), environ_update={"LC_ALL": "C"})
        return answer

    module.get_bin_path("rpm" if manager == "rpm" else "dpkg-query", required=True)
    missing = _system_packages.missing(module.params["names"], manager, run, root)
    if missing and not module.check_mode:
        program = next(filter(None, (module.get_bin_path(name) for name in _PROGRAMS[manager])), None)
        if program is None:
            module.fail_json(msg=f"{', '.join(missing)} must be installed, and there is no {' or '.join(_PROGRAMS[manager])} to do it: install them by hand.")
        try:
            _system_packages.install(missing, manager, str(program), run, root)
        except _system_packages.PackagesError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=bool(missing), missing=missing)


if __name__ == "__main__":
    main()
