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
# A kernel keeps a little of the memory for itself, which differs by version: what is missing is a module, so a good part.
MEMORY_SHARE = 0.97
# Fact to check: one value a node.
OF_NODES = {"npu_name": "npu_name_equal", "driver": "driver_equal", "firmware": "firmware_equal", "kernel": "kernel_equal", "system": "system_equal",
             "mtu": "mtu_equal", "processors": "processors_equal"}
# Value to check: one a NPU.
OF_NPUS = {"netmask": "npu_netmask", "tls": "tls_switch", "mtu": "npu_mtu_equal", "speed": "npu_speed_equal"}


def compare(nodes: Nodes, settings: Mapping[str, Any]) -> Found:
    """Find by node what differs from the others; the value that most have is the right one, a tie blames those after the first."""
    found: Found = {host: [] for host in nodes}
    count = int(settings["nproc_per_node"])
    _of_nodes(nodes, found, "npus", "npu_count_equal", {host for host in nodes if nodes[host]["facts"].get("npus", 0) >= count})
    for name, check in OF_NODES.items():
        _of_nodes(nodes, found, name, check, set(nodes))
    if settings.get("nfs"):
        _of_nodes(nodes, found, "user_ids", "user_numbers_equal", set(nodes))
    _memory(nodes, found)
    _checkpoints(nodes, settings, found)
    _clocks(nodes, settings, found)
    for name, check in OF_NPUS.items():
        _of_npus(nodes, found, name, check)
    _addresses(nodes, found)
    return found


def _of_nodes(nodes: Nodes, found: Found, name: str, check: str, among: set[str]) -> None:
    values = {host: data["facts"][name] for host, data in nodes.items() if host in among and data["facts"].get(name) not in (None, "")}
    if len(set(values.values())) > 1:
        usual = statistics.mode(values.values())
        count = list(values.values()).count(usual)
        for host, value in values.items():
            if value != usual:
                found[host].append(finding(check, str(value), usual=usual, count=count, total=len(values)))


def _memory(nodes: Nodes, found: Found) -> None:
    values = {host: data["facts"]["memory_gib"] for host, data in nodes.items() if data["facts"].get("memory_gib")}
    usual = statistics.median_high(values.values()) if values else 0
    count = sum(value >= usual * MEMORY_SHARE for value in values.values())
    for host, value in values.items():
        if value < usual * MEMORY_SHARE:
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


def npus(nodes: Nodes) -> list[tuple[str, str, Mapping[str, Any]]]:
    """All NPUs of all nodes: node, number, and what is compared of it."""
    return [(host, device, npu) for host, data in nodes.items() for device, npu in data["facts"].get("fabric", {}).items()]


def unlike(nodes: Nodes, name: str, usual: Any) -> dict[tuple[str, Any], list[int]]:
    """Tell which NPUs have another value, by node and value; one that is not known counts as none."""
    odd: dict[tuple[str, Any], list[int]] = {}
    for host, device, npu in npus(nodes):
        if npu[name] != "" and str(npu[name]) != str(usual):
            odd.setdefault((host, npu[name]), []).append(int(device))
    return odd


def most_npus(nodes: Nodes, name: str) -> tuple[Any, int, int]:
    """Tell the value that most NPUs have, how many have it, and how many have any; "" where none has."""
    values = [npu[name] for _, _, npu in npus(nodes) if npu[name] != ""]
    usual = statistics.mode(values) if values else ""
    return usual, values.count(usual), len(values)


def _of_npus(nodes: Nodes, found: Found, name: str, check: str) -> None:
    usual, count, total = most_npus(nodes, name)
    for (host, value), devices in unlike(nodes, name, usual).items():
        found[host].append(finding(check, f"NPU {listed(devices)}: {value}", usual=usual, count=count, total=total))


def _addresses(nodes: Nodes, found: Found) -> None:
    owners: dict[str, list[tuple[str, str]]] = {}
    for host, device, npu in npus(nodes):
        if npu["address"]:
            owners.setdefault(npu["address"], []).append((host, device))
    for address, those in owners.items():
        if len(those) > 1:
            shown = " and ".join(f"NPU {device} of {host}" for host, device in those[:4]) + (" …" if len(those) > 4 else "")
            found[those[-1][0]].append(finding("npu_address_unique", f"{address}: {shown}"))
    # NPUs of one plane may be all that talk to each other: who has no gateway needs one of every other node in its own subnet.
    subnets = {(host, device): subnet for host, device, npu in npus(nodes) for subnet in [_subnet(npu)] if subnet}
    # By subnet the nodes that are in it, counted once for all: of 8,000 NPUs each would look at 1,000 nodes.
    within: dict[Any, set[str]] = {}
    for (host, _), subnet in subnets.items():
        within.setdefault(subnet, set()).add(host)
    hosts = len({host for host, _ in subnets})
    alone: dict[str, list[str]] = {}
    for (host, device), subnet in subnets.items():
        if not nodes[host]["facts"]["fabric"][device]["gateway"] and len(within[subnet]) < hosts:
            alone.setdefault(host, []).append(device)
    for host, devices in alone.items():
        where = ", ".join(sorted({str(subnets[host, device]) for device in devices}))
        found[host].append(finding("npu_route", f"NPU {listed([int(device) for device in devices])} in {where}, without a gateway"))


def _subnet(npu: Mapping[str, Any]) -> Any:
    try:
        return ipaddress.ip_network(f"{npu['address']}/{npu['netmask']}", strict=False)
    except ValueError:
        return None
