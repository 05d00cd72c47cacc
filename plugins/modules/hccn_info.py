#!/usr/bin/python
"""What hccn_tool says of the network ports of a node's NPUs."""
from __future__ import annotations

DOCUMENTATION = r"""
module: hccn_info
short_description: What hccn_tool says of the network ports of a node's NPUs
description:
  - Asks C(hccn_tool) for every NPU of a node, eight of them at once and each for one thing after the other, and reads the file from which
    the ports are configured. Changes nothing.
  - Where there is no value it says why, see RV(devices); what the tool says and is not understood is quoted.
  - C(hccn_tool) answers root alone, and by its own design notes the TLS switch in its file when it is first asked for it.
options:
  devices:
    description: Numbers of the NPUs as C(hccn_tool -i) takes them. All that C(npu-smi info -m) shows by default.
    type: list
    elements: int
  queries:
    description: What to ask for. All but the ping by default.
    type: list
    elements: str
    choices: [link, net_health, ip, gateway, netdetect, tls, stat, optical, link_stat, mtu, speed, lldp]
  ping:
    description: Addresses of other NPUs that each one is to ping.
    type: list
    elements: str
    default: []
  timeout:
    description: >-
      Seconds after which a call is killed. What is left to ask of that NPU is not asked, as a driver that hangs does so for all of it.
    type: float
    default: 10
  tool:
    description: The program.
    type: path
    default: /usr/local/Ascend/driver/tools/hccn_tool
  npu_smi:
    description: The program that knows the NPUs. Looked for on the PATH, in /usr/local/bin and in /usr/local/sbin by default.
    type: path
  conf:
    description: The file from which the ports are configured.
    type: path
    default: /etc/hccn.conf
attributes:
  check_mode:
    description: Reads only.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Look at the links and addresses of all NPUs
  ascend.cluster.hccn_info:
    queries: [link, ip]
  become: true
  register: ports

- name: Let the first NPU ping two others
  ascend.cluster.hccn_info:
    devices: [0]
    queries: []
    ping: [10.20.1.1, 10.20.1.2]
  become: true
"""

RETURN = r"""
devices:
  description: >-
    By NPU and query (C(ping ADDRESS) for a ping) its value, or C(error) and C(words). C(link) is UP or DOWN; C(net_health) a word, only
    Success is healthy; C(ip) has C(address) and C(netmask); C(gateway), C(netdetect) and C(lldp) (the switch's port) are text; C(tls) has
    C(switch) and C(certificates), whose C(expiration) is 0 normal, 1 near or 2 expired; C(stat) has the number of each counter;
    C(optical) C(present), power and signal of each lane, and the module's own C(thresholds); C(link_stat) C(up_count), C(down_count) and
    C(changes), the newest first; C(mtu) is in bytes, C(speed) in Mb/s; a ping has C(sent), C(received) and C(loss_percent). C(error) is
    not_set, absent, busy, unsupported, no_permission, timeout, no_answer or unknown, and C(words) what the tool said.
  type: dict
  returned: always
  sample: {"0": {"link": "UP", "ip": {"address": "10.20.0.1", "netmask": "255.255.0.0"}, "optical": {"error": "absent", "words": "…"}}}
conf:
  description: By NPU the keys of O(conf), like C(address) and C(tls_enable); empty when there is no such file.
  type: dict
  returned: always
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _hccn_tool, _npu_smi_more, _tool_run
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread, plain

QUERIES = [name for name in _hccn_tool.QUERIES if name != "ping"]


def look(tool: str, queries: list[str], timeout: float, device: int) -> dict[str, Any]:
    """Ask for one NPU, one thing after the other."""
    found: dict[str, Any] = {}
    hangs = ""
    for query in queries:
        name, _, address = query.partition(" ")
        argv = [tool, "-i", str(device), f"-{name}", "-g", *(["address", address] if address else [])]
        if hangs:
            found[query] = Unread("timeout", f"not asked, as `{hangs}` did not end")
            continue
        found[query] = _tool_run.ask(argv, timeout, partial(_hccn_tool.answer, device, query))
        if isinstance(found[query], Unread) and found[query].kind == "timeout":
            hangs = " ".join(argv)
    return found


def devices_of(module: AnsibleModule) -> list[int]:
    """Numbers of all NPUs of the node, as npu-smi knows them."""
    program = module.params["npu_smi"] or module.get_bin_path("npu-smi", required=True, opt_dirs=["/usr/local/bin", "/usr/local/sbin"])
    chips = _tool_run.ask([program, "info", "-m"], module.params["timeout"], partial(_npu_smi_more.answer, "map"))
    if isinstance(chips, Unread):
        module.fail_json(msg=f"`{program} info -m` does not tell which NPUs there are ({chips.kind}): {chips.words or 'it said nothing'}. "
                             "Run it on the node, or set option devices.")
    return [chip["device"] for chip in chips]


def main() -> None:
    """Entry."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "int"},
            "queries": {"type": "list", "elements": "str", "choices": QUERIES},
            "ping": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 10},
            "tool": {"type": "path", "default": "/usr/local/Ascend/driver/tools/hccn_tool"},
            "npu_smi": {"type": "path"},
            "conf": {"type": "path", "default": "/etc/hccn.conf"},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    if not os.access(wanted["tool"], os.X_OK):
        module.fail_json(msg=f"{wanted['tool']} (option tool) is no program that {os.environ.get('USER', 'this user')} may run. It comes with "
                             "the vendor's driver; it answers root alone.")
    numbers = wanted["devices"] if wanted["devices"] is not None else devices_of(module)
    queries = [*(QUERIES if wanted["queries"] is None else wanted["queries"]), *(f"ping {address}" for address in wanted["ping"])]
    found = _tool_run.side_by_side(partial(look, wanted["tool"], queries, wanted["timeout"]), numbers)
    conf = Path(wanted["conf"])
    text = conf.read_text(encoding="utf-8", errors="replace") if conf.exists() else ""
    module.exit_json(changed=False, devices=plain(dict(zip(numbers, found))), conf=plain(_hccn_tool.read_conf(text)))


if __name__ == "__main__":
    main()
