"""What check_cluster_fix does, by name: which calls of roles/check_cluster/files/fix.sh mend which finding on which node.

Nothing here is done unasked, and nothing on a node where our own run is in progress, or may be; links of NPUs that somebody uses are left.
Whether it helped is seen by the next look alone.
"""
from __future__ import annotations

import collections
import ipaddress
import shlex
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.ascend.cluster.plugins.module_utils import _compare
from ansible_collections.ascend.cluster.plugins.module_utils._checks import RUNNING, TABLE
from ansible_collections.ascend.cluster.plugins.module_utils._port_ranges import port_ranges
from ansible_collections.ascend.cluster.plugins.module_utils._topology import ip_address

# What a node's firewall calls itself in the probe, by its first word, and the function of fix.sh that opens it.
_FIREWALLS = {"firewalld": "open_firewalld", "ufw": "open_ufw", "nftables": "open_nftables"}
_WHERE = "check_cluster_fix (group_vars/all/check_cluster.yml, or -e)"


class Call(NamedTuple):
    """One call of a function of fix.sh, and what it does in words."""

    words: str
    call: str
    # What the second look has to show: the NPU, the name of its fact and the value; () where the finding that is gone is all.
    proof: tuple[str, ...] = ()


# Of NPUs that these were found on somebody else is training, perhaps: their links are not touched.
_IN_USE = ("npus_idle", "npu_container", "npu_memory_held", "left_processes")
_OF_NPUS = ("tls_switch", "npu_address")
Nodes = Mapping[str, Mapping[str, Any]]
# The calls, and what is left and why.
Found = Tuple[List[Call], List[str]]


def names() -> list[str]:
    """All that can be asked for."""
    return sorted({check.fix for check in TABLE if check.fix})


def errors(asked: Sequence[str]) -> list[str]:
    """Say which names are of no fix."""
    unknown = [str(name) for name in asked if name not in names()]
    return [f"{_WHERE} names {', '.join(unknown)}: expected some of {', '.join(names())}."] if unknown else []


def plan(nodes: Nodes, findings: Sequence[Mapping[str, Any]], asked: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Work out what is to be done.

    Args:
        nodes: what :func:`_probe.node` returned, by name.
        findings: of all nodes, each with ``node`` and ``check``.
        asked: names of fixes.
        settings: ``addresses`` (cluster_address by node), ``port_ranges`` (of cluster_ports) and ``unit`` (of the training).

    Returns:
        ``calls``: by node the calls as [fix, words, call, proof]; ``told``: a line for each; ``left``: lines that say what is not mended, and why.
    """
    calls: dict[str, list[list[Any]]] = {}
    left: list[str] = []
    for fix in dict.fromkeys(asked):
        hosts = dict.fromkeys(str(one["node"]) for one in findings if one["check"] in of(fix))
        for host in hosts:
            if nodes[host]["job"] in RUNNING:
                left.append(f"{host}: {fix} is left, for our own run is in progress there (playbooks/stop.yml ends it)")
                continue
            if nodes[host]["job"] == "unknown":
                left.append(f"{host}: {fix} is left, for whether our own run is in progress there is unknown")
                continue
            used = [str(one["cause"]) for one in findings if one["node"] == host and one["check"] in _IN_USE and fix in _OF_NPUS]
            if used:
                left.append(f"{host}: {fix} is left, for its NPUs may be in use ({'; '.join(dict.fromkeys(used))}): mend that first")
                continue
            some, why = _FIXES[fix](nodes, host, settings)
            calls.setdefault(host, []).extend([fix, *one] for one in some)
            left.extend(f"{host}: {fix} is left: {text}" for text in why)
        if not hosts:
            left.append(f"{fix}: nothing is found that it would mend ({', '.join(of(fix))})")
    told = [f"{host}: {fix}: {words}" for host, some in calls.items() for fix, words, _, _ in some]
    return {"calls": {host: some for host, some in calls.items() if some}, "told": told, "left": left}


def of(fix: str) -> list[str]:
    """The checks whose findings a fix mends."""
    return [check.name for check in TABLE if check.fix == fix]


def still_there(calls: Mapping[str, Sequence[Sequence[Any]]], findings: Sequence[Mapping[str, Any]], said: Mapping[str, str], nodes: Nodes) -> list[str]:
    """Say which findings are there in the second look all the same, and what it does not prove.

    Args:
        calls: of :func:`plan`.
        findings: of the second look.
        said: by node what fix.sh printed.
        nodes: what :func:`_probe.node` returned of the second look.
    """
    lines = []
    for host, some in calls.items():
        failed = [line.strip()[len("failed="):] for line in said.get(host, "").splitlines() if line.strip().startswith("failed=")]
        why = f"; {'; '.join(failed)}" if failed else "; every command said that it was done" if f"end={host}" in said.get(host, "") else (
            f"; the node did not say what became of it: {' '.join(said.get(host, '').split())[:300] or 'nothing'}")
        for fix in dict.fromkeys(one[0] for one in some):
            same = [one for one in findings if one["node"] == host and one["check"] in of(fix)]
            missing = _unproved(nodes.get(host, {}).get("facts", {}), [one[3] for one in some if one[0] == fix])
            # That a firewall is active is found until all nodes have been seen to come through.
            if any(one["check"] != "firewall" for one in same):
                lines.append(f"{host}: {fix} did not help: {_told(same)}{why}")
            elif same or missing:
                lines.append(f"{host}: {fix} is not proved: {_told(same) or '; '.join(missing)}{why}")
    return lines


def _told(findings: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['cause']}: {one['found']}" for one in findings)


def _unproved(facts: Mapping[str, Any], proofs: Sequence[Sequence[str]]) -> list[str]:
    if not facts:
        return ["the second look got no answer"]
    seen = [(proof, facts["fabric"].get(proof[0], {}).get(proof[1], "")) for proof in proofs if proof]
    return [f"NPU {npu}: {name} is {value if value != '' else 'unknown'}, not {wanted}" for (npu, name, wanted), value in seen if str(value) != wanted]


def script(host: str, calls: Iterable[Sequence[Any]]) -> str:
    """The lines to be put behind fix.sh."""
    return "".join(f"{call}\n" for _, _, call, _ in calls) + f"finish {shlex.quote(host)}\n"


def _tls_switch(nodes: Nodes, host: str, _settings: Mapping[str, Any]) -> Found:
    counts = collections.Counter(npu["tls"] for _, _, npu in _compare.npus(nodes) if npu["tls"] != "").most_common()
    usual = counts[0][0]
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return [], [f"as many NPUs have it one way as the other ({' and '.join(f'{value} on {count}' for value, count in counts)}); say which by "
                    f"`hccn_tool -i <NPU> -tls -s enable 0` (or 1) on those that are wrong"]
    odd = [(device, value) for (owner, value), devices in _compare.unlike(nodes, "tls", usual).items() if owner == host for device in devices]
    return [_set(nodes, host, f"TLS switch from {value} to {usual}", device, "-tls", "-s", "enable", usual)._replace(proof=(str(device), "tls", str(usual)))
            for device, value in odd], []


def _npu_address(nodes: Nodes, host: str, _settings: Mapping[str, Any]) -> Found:
    """Only what /etc/hccn.conf says, and what no other NPU has."""
    taken = {npu["address"]: f"NPU {device} of {owner}" for owner, device, npu in _compare.npus(nodes) if npu["address"]}
    calls: list[Call] = []
    why: list[str] = []
    for device, npu in nodes[host]["facts"]["fabric"].items():
        address, netmask = npu["conf_address"], npu["conf_netmask"]
        if not npu["no_address"]:
            continue
        if not _is_host(address, netmask):
            why.append(f"/etc/hccn.conf has no address and netmask for NPU {device} that can be used (found {address or 'none'} and {netmask or 'none'})")
        elif address in taken:
            why.append(f"/etc/hccn.conf has {address} for NPU {device}, which is that of {taken[address]}")
        else:
            taken[address] = f"NPU {device} of {host}"
            calls.append(_set(nodes, host, "the address that /etc/hccn.conf has", device, "-ip", "-s", "address", address, "netmask", netmask)
                         ._replace(proof=(device, "address", address)))
    return calls, why


def _is_host(address: str, netmask: str) -> bool:
    try:
        return str(ipaddress.IPv4Interface(f"{address}/{netmask}").ip) == address
    except ValueError:
        return False


def _firewall(nodes: Nodes, host: str, settings: Mapping[str, Any]) -> Found:
    facts = nodes[host]["facts"]
    seen = [str(one) for one in facts["firewalls"]]
    # firewalld and ufw write the rules of nftables or iptables: where one of them is active, it alone is told.
    kind = next((name for name in _FIREWALLS if any(one.split()[0] == name for one in seen)), "")
    if not kind:
        return [], [f"its firewall ({', '.join(seen) or 'none is seen on the node'}) is none of {', '.join(_FIREWALLS)}; open it by its own means"]
    if not facts["ephemeral"]:
        return [], ["the kernel did not tell its range of ports for outgoing connections, which has to be opened, too"]
    others = [str(address) for other, address in settings["addresses"].items() if other != host]
    wrong = [address for address in others if not _is_address(address)]
    if wrong:
        return [], [f"{', '.join(wrong)} is no address; set cluster_address for that node in the inventory"]
    # United: nftables takes no ranges that overlap, and HCCL's lie within the kernel's.
    ports = port_ranges([str(settings["port_ranges"]), str(facts["ephemeral"])]).split(",")
    return [_call(f"{kind} lets {', '.join(others)} in on TCP {', '.join(ports)}", _FIREWALLS[kind], " ".join(ports), *others)], []


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _limits(nodes: Nodes, host: str, settings: Mapping[str, Any]) -> Found:
    low = nodes[host]["facts"]["low_limits"]
    own = {name: wanted for name, wanted in low.items() if not name.startswith("Default")}
    words = ", ".join(f"{name} {wanted}" for name, wanted in own.items())
    calls = [_call(f"a drop-in for {settings['unit']}: {words}", "set_limits", settings["unit"], *(f"{name} {wanted}" for name, wanted in own.items()))]
    return calls if own else [], [f"{name} is the service manager's own: set it in /etc/systemd/system.conf" for name in low if name not in own]


def _set(nodes: Nodes, host: str, text: str, device: Any, *words: Any) -> Call:
    command = [nodes[host]["facts"]["hccn_tool"], "-i", device, *words]
    return _call(f"NPU {device}: {text}: {' '.join(map(str, command))}", "attempt", *command)


def _call(text: str, *words: Any) -> Call:
    return Call(text, shlex.join(str(word) for word in words))


_FIXES: dict[str, Callable[[Nodes, str, Mapping[str, Any]], Found]] = {
    "tls_switch": _tls_switch, "npu_address": _npu_address, "firewall": _firewall, "limits": _limits}
