#!/usr/bin/python
"""What npu-smi says of a node's NPUs."""
from __future__ import annotations

DOCUMENTATION = r"""
module: npu_info
short_description: What npu-smi says of a node's NPUs
description:
  - Reads the table of C(npu-smi info), and asks for the device numbers, the error codes and the ECC counters of every chip, eight of them
    at once. Changes nothing.
  - A table that is not understood is an error that quotes it.
options:
  timeout:
    description: Seconds after which a call is killed.
    type: float
    default: 10
  npu_smi:
    description: The program. Looked for on the PATH, in /usr/local/bin and in /usr/local/sbin by default.
    type: path
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Look at the NPUs
  ascend.cluster.npu_info:
  become: true
  register: npus
"""

RETURN = r"""
version:
  description: Version of npu-smi.
  type: str
  returned: always
chips:
  description: >-
    A chip each, by C(npu) and C(chip): C(name), C(health) (OK, Warning, Alarm, Critical or UNKNOWN), C(bus_id), C(memory_used_mib),
    C(memory_total_mib), C(processes) (C(pid), C(name), C(memory_mib)), and C(device), its number for C(hccn_tool), null where it is not
    told. C(faults) has C(codes), the vendor's, and C(information); C(ecc) the number of each counter. In their place may be C(error)
    (not_set, absent, busy, unsupported, no_permission, timeout, no_answer or unknown) and C(words), what npu-smi said.
  type: list
  elements: dict
  returned: always
"""

from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi, _npu_smi_more, _tool_run
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import KILLED, Unread, plain, quote


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={"timeout": {"type": "float", "default": 10}, "npu_smi": {"type": "path"}},
        supports_check_mode=True,
    )
    timeout: float = module.params["timeout"]
    program = module.params["npu_smi"] or module.get_bin_path("npu-smi", required=True, opt_dirs=["/usr/local/bin", "/usr/local/sbin"])

    def ask(query: str, *words: str) -> Any:
        return _tool_run.ask([program, "info", *words], timeout, partial(_npu_smi_more.answer, query))

    code, lines = _tool_run.run([program, "info"], timeout)
    if code in KILLED:
        module.fail_json(msg=f"`{program} info` did not end within {timeout:g} s (option timeout). Run it on the node, and look at `dmesg`.")
    try:
        table = _npu_smi.parse("\n".join(lines))
    except _npu_smi.UnknownForm as error:
        module.fail_json(msg=f"`{program} info` prints a table that is not understood: {error}. Report its output.")
    if not table["chips"]:
        module.fail_json(msg=f"`{program} info` shows no NPU, exit status {code}: {quote(lines) or 'it said nothing'}. "
                             "Check that driver and firmware fit, and `dmesg`.")
    known = ask("map", "-m")
    places = {} if isinstance(known, Unread) else {(one["npu"], one["chip"]): one for one in known}

    def look(chip: dict[str, Any]) -> dict[str, Any]:
        place = places.get((chip["npu"], chip["chip"]))
        held = [{key: process[key] for key in ("pid", "name", "memory_mib")} for process in table["processes"]
                if (process["npu"], process["chip"]) == (chip["npu"], chip["chip"])]
        if place is None:
            why = known if isinstance(known, Unread) else Unread("absent", "npu-smi info -m does not list it")
            return {**chip, "processes": held, "device": None, "faults": why, "ecc": why}
        health, ecc = (ask(query, "-t", query, *place["options"]) for query in ("health", "ecc"))
        faults = health if isinstance(health, Unread) else {key: health[key] for key in ("codes", "information")}
        return {**chip, "processes": held, "device": place["device"], "faults": faults, "ecc": ecc}

    module.exit_json(changed=False, version=table["version"], chips=plain(_tool_run.side_by_side(look, table["chips"])))


if __name__ == "__main__":
    main()
