"""Finds what is wrong only in comparison of the nodes: versions, counts, clocks, and the addresses and switches of all NPUs."""
from __future__ import annotations

import ipaddress
import statistics
from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._parallel_plan import short_disks
from ansible_collections.ascend.cluster.plugins.module_utils._probe_fabric import listed

Nodes = Mapping[str, Mapping[str, Any]]
Found = dict[str, list[Finding]]
# Fact to check: one value a node.
_OF_NODES = {"npu_name": "npu_name_equal", "driver": "driver_equal", "firmware": "firmware_equal", "kernel": "kernel_equal", "system": "system_equal",
             "mtu": "mtu_equal", "processors": "processors_equal"}
# Value to check: one a NPU.
_OF_NPUS = {"netmask": "npu_netmask", "tls": "tls_switch", "mtu": "npu_mtu_equal", "speed": "npu_speed_equal"}


def compare(nodes: Nodes, settings: Mapping[str, Any]) -> Found:
    """Find by node what differs from the others; the value that most have is the right one, a tie blames those after the first."""
    found: Found = {host: [] for host in nodes}
    count = int(settings["nproc_per_node"])
    _of_nodes(nodes, found, "npus", "npu_count_equal", {host for host in nodes if nodes[host]["facts"].get("npus", 0) >= count})
    for name, check in _OF_NODES.items():
        _of_nodes(nodes, found, name, check, set(nodes))
    if settings.get("nfs"):
        _of_nodes(nodes, found, "user_ids", "user_numbers_equal", set(nodes))
    _memory(nodes, found)
    _checkpoints(nodes, settings, found)
    _clocks(nodes, settings, found)
    for name, check in _OF_NPUS.items():
        _of_npus(nodes, found, name, check)
    _addresses(nodes, found)
    return found


def _of_nodes(nodes: Nodes, found: Found, name: str, check: str, among: set[str]) -> None:
    values = {host: data["facts"][name] for host, data in nodes.items() if host in among and data["facts"].get(name) not in (None, "")}
    if len(set(values.values())) > 1:
        usual = statistics.mode(values.values())
        for host, value in values.items():
            if value != usual:
                found[host].append(finding(check, str(value), usual=usual, count=list(values.values()).count(usual), total=len(values)))


def _memory(nodes: Nodes, found: Found) -> None:
    """A kernel keeps a little for itself, which differs by version: what is missing is a module, so a good part."""
    values = {host: data["facts"]["memory_gib"] for host, data in nodes.items() if data["facts"].get("memory_gib")}
    usual = statistics.median_high(values.values()) if values else 0
    for host, value in values.items():
        if value < usual * 0.97:
            count = sum(other >= usual * 0.97 for other in values.values())
            found[host].append(finding("memory_equal", f"{value} GiB", usual=usual, count=count, total=len(values)))


def _checkpoints(nodes: Nodes, settings: Mapping[str, Any], found: Found) -> None:
    """Each node writes the shards of its ranks; a disk that launches have filled with checkpoints already is not judged."""
    checkpoint, ranks = settings.get("checkpoint"), settings.get("ranks", {})
    placed = sorted((host for host in nodes if host in ranks), key=lambda host: int(ranks[host]))
    if not checkpoint or len(placed) != len(checkpoint["node_bytes"]):
        return
    facts = [nodes[host]["facts"] for host in placed]
    free = [fact["checkpoint_free_bytes"] if fact.get("checkpoint_free_bytes") and not fact["launched"] else None for fact in facts]
    short = short_disks(checkpoint, free, shared=any(fact.get("checkpoint_shared") for fact in facts))
    most = f"{max((needed for _, _, needed in short), default=0) / 1e9:.1f}"
    for rank, there, _ in short:
        found[placed[rank]].append(finding("checkpoint_space", f"{there / 1e9:.1f} GB", path=settings["checkpoint_path"], needed=most,
                                           saves=checkpoint["saves"]))


def _clocks(nodes: Nodes, settings: Mapping[str, Any], found: Found) -> None:
    offsets = {host: data["facts"]["clock_offset"] for host, data in nodes.items() if "clock_offset" in data["facts"]}
    if not offsets:
        return
    middle = statistics.median_low(offsets.values())
    most = float(settings["max_clock_skew_seconds"])
    for host, offset in offsets.items():
        if abs(offset - middle) > most:
            found[host].append(finding("clock_equal", f"{offset - middle:+.0f} s", max_clock_skew_seconds=f"{most:g}"))


def _npus(nodes: Nodes) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [(host, device, npu) for host, data in nodes.items() for device, npu in data["facts"].get("fabric", {}).items()]


def _of_npus(nodes: Nodes, found: Found, name: str, check: str) -> None:
    npus = [(host, device, npu[name]) for host, device, npu in _npus(nodes) if npu[name] != ""]
    values = [value for _, _, value in npus]
    if len(set(values)) <= 1:
        return
    usual = statistics.mode(values)
    odd: dict[tuple[str, Any], list[int]] = {}
    for host, device, value in npus:
        if value != usual:
            odd.setdefault((host, value), []).append(int(device))
    for (host, value), devices in odd.items():
        found[host].append(finding(check, f"NPU {listed(devices)}: {value}", usual=usual, count=values.count(usual), total=len(values)))


def _addresses(nodes: Nodes, found: Found) -> None:
    owners: dict[str, list[tuple[str, str]]] = {}
    for host, device, npu in _npus(nodes):
        if npu["address"]:
            owners.setdefault(npu["address"], []).append((host, device))
    for address, those in owners.items():
        if len(those) > 1:
            shown = " and ".join(f"NPU {device} of {host}" for host, device in those[:4]) + (" …" if len(those) > 4 else "")
            found[those[-1][0]].append(finding("npu_address_unique", f"{address}: {shown}"))
    # NPUs of one plane may be all that talk to each other: who has no gateway needs one of every other node in its own subnet.
    subnets: dict[str, set[Any]] = {}
    for host, _, npu in _npus(nodes):
        subnet = _subnet(npu)
        if subnet:
            subnets.setdefault(host, set()).add(subnet)
    alone: dict[str, list[int]] = {}
    for host, device, npu in _npus(nodes):
        subnet = _subnet(npu)
        if subnet and not npu["gateway"] and any(subnet not in others for other, others in subnets.items() if other != host):
            alone.setdefault(host, []).append(int(device))
    for host, devices in alone.items():
        where = ", ".join(sorted({str(_subnet(nodes[host]["facts"]["fabric"][str(device)])) for device in devices}))
        found[host].append(finding("npu_route", f"NPU {listed(devices)} in {where}, without a gateway"))


def _subnet(npu: Mapping[str, Any]) -> Any:
    try:
        return ipaddress.ip_network(f"{npu['address']}/{npu['netmask']}", strict=False)
    except ValueError:
        return None
