"""Judges which nodes reach which: what roles/preflight/files/reach.py said on each."""
from __future__ import annotations

from typing import Any, Mapping

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


def judge(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Finding]]:
    """Find by node who is not reached, and who does not reach others.

    Where half of those that tried a port of a node or more do not reach it, that node is named, with the others as the witnesses; what is
    left is told of the node that tried. A port on which a node could not listen is no witness.
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
    entries: dict[tuple[str, str, str, tuple[str, ...]], list[int]] = {}
    for (peer, port, why), hosts in sources.items():
        others = len([host for host in tried if host != peer])
        failed = {host for (other, number, _), those in sources.items() if (other, number) == (peer, port) for host in those}
        check = "reach_large" if why == LARGE else "reach_in"
        if len(failed) * 2 >= others:
            entries.setdefault((peer, check, why, tuple(hosts)), []).append(port)
        else:
            for host in hosts:
                entries.setdefault((host, "reach_large" if why == LARGE else "reach_out", why, (peer,)), []).append(port)
    for (host, check, why, those), ports in entries.items():
        named = ", ".join(those[:3]) + (f" … ({len(those)} nodes)" if len(those) > 3 else "")
        way = "to" if check == "reach_out" or (check == "reach_large" and len(those) == 1 and host not in [peer for peer, _, _ in sources]) else "from"
        listed = f"port{'s' if len(ports) > 1 else ''} {', '.join(map(str, sorted(ports)))} {way} {named}"
        found[host].append(finding(check, listed if check == "reach_large" else f"{listed}: {why}"))
    return found
