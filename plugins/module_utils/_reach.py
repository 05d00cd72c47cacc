"""Judges which nodes reach which: what roles/preflight/files/reach.py said on each."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding

# As reach.py words it.
LARGE = "it connects, but large packets do not come through"


def read(listened: Mapping[str, Any], connected: Mapping[str, Any]) -> dict[str, Any]:
    """Read what reach.py said on one node, from the registered results of its two tasks.

    Returns:
        ``listening``: ports on which it listened; ``tried``: whether it went through all others; ``unreached``: a list of [peer, port, why].
    """
    lines = str(listened.get("stdout") or "").splitlines()
    said = [line.strip() for line in str(connected.get("stdout") or "").splitlines()]
    unreached = [line.partition("=")[2].split("|", 2) for line in said if line.startswith("unreached=") and line.count("|") >= 2]
    return {"listening": [int(line.partition("=")[2]) for line in map(str.strip, lines) if line.startswith("listening=")],
            "tried": any(line.startswith("reached=") for line in said),
            "unreached": [[peer, int(port), why] for peer, port, why in unreached]}


def let_in(nodes: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Name the nodes that every other one has reached on every port: whatever firewall they have lets the run pass."""
    most = max((len(data["listening"]) for data in nodes.values()), default=0)
    if not most or len(nodes) < 2 or not all(data["tried"] for data in nodes.values()):
        return set()
    missed = {peer for data in nodes.values() for peer, _, _ in data["unreached"]}
    return {host for host, data in nodes.items() if len(data["listening"]) == most and host not in missed}


def _cut_off(nodes: Mapping[str, Mapping[str, Any]], tried: Sequence[str]) -> dict[str, set[tuple[str, int]]]:
    """By node that reaches none of two or more peers on a port, while each is reached there by another: the peers and ports."""
    failed = {host: {(peer, port) for peer, port, _ in nodes[host]["unreached"]} for host in tried}
    found: dict[str, set[tuple[str, int]]] = {}
    for host in tried:
        for port in {port for _, port in failed[host]}:
            targets = {(peer, port) for peer in nodes if peer != host and port in nodes[peer]["listening"]}
            reached = {target for other in tried if other != host for target in targets if other != target[0] and target not in failed[other]}
            if len(targets) > 1 and targets <= failed[host] and targets == reached:
                found.setdefault(host, set()).update(targets)
    return found


def judge(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Finding]]:
    """Find by node who is not reached, and who does not reach others.

    Who reaches nobody whom others reach is named himself. Where half of those that tried a port of a node or more do not reach it, that
    node is named, with the others as the witnesses; what is left is told of the node that tried. A port on which a node could not listen
    is no witness.
    """
    found: dict[str, list[Finding]] = {host: [] for host in nodes}
    tried = [host for host, data in nodes.items() if data["tried"]]
    for host in nodes:
        if host not in tried or not nodes[host]["listening"]:
            found[host].append(finding("reach_unknown", "it could not try" if host not in tried else "it could not listen"))
    sources: dict[tuple[str, int, str], list[str]] = {}
    for host in tried:
        for peer, port, why in nodes[host]["unreached"]:
            if peer in nodes and port in nodes[peer]["listening"]:
                sources.setdefault((peer, port, why), []).append(host)
    entries: dict[tuple[str, str, str, str, tuple[str, ...]], list[int]] = {}
    # Who reaches none of its peers, while somebody else reaches each of them, is at fault itself.
    for host, missed in _cut_off(nodes, tried).items():
        for (peer, port, why), witnesses in sources.items():
            if host in witnesses and (peer, port) in missed:
                witnesses.remove(host)
                entries.setdefault((host, "reach_large" if why == LARGE else "reach_out", why, "to", (peer,)), []).append(port)
    for (peer, port, why), hosts in sources.items():
        if not hosts:
            continue
        others = len([host for host in tried if host != peer])
        failed = {host for (other, number, _), those in sources.items() if (other, number) == (peer, port) for host in those}
        check = "reach_large" if why == LARGE else "reach_in"
        if len(failed) * 2 >= others:
            entries.setdefault((peer, check, why, "from", tuple(hosts)), []).append(port)
        else:
            for host in hosts:
                entries.setdefault((host, "reach_large" if why == LARGE else "reach_out", why, "to", (peer,)), []).append(port)
    for (host, check, why, way, those), ports in entries.items():
        named = ", ".join(those[:3]) + (f" … ({len(those)} nodes)" if len(those) > 3 else "")
        listed = f"port{'s' if len(ports) > 1 else ''} {', '.join(map(str, sorted(ports)))} {way} {named}"
        found[host].append(finding(check, listed if check == "reach_large" else f"{listed}: {why}"))
    return found
