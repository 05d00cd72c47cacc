"""Findings of the preflight, and how all of all nodes become one message.

A *finding* is a mapping of ``cause`` (what is wrong), ``found`` (what this node shows), ``expected`` and ``remedy``
(with the variable or command). Findings that differ in ``found`` only are folded over the nodes that have them; where
one node alone has it, ``remedy_alone`` takes the remedy's place.
"""
from __future__ import annotations

import statistics
from typing import Any, Dict, Iterable, Mapping, Sequence

Finding = Dict[str, str]
RUNNING = ("active", "activating", "deactivating", "reloading")


def finding(cause: str, found: str, expected: str, remedy: str) -> Finding:
    """Make a finding; ``remedy`` is one or more whole sentences."""
    return {"cause": cause, "found": found, "expected": expected, "remedy": remedy}


def _between_nodes(nodes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, list[Finding]]:
    """Find what is wrong only in comparison: counts of NPUs, driver versions, clocks."""
    found: dict[str, list[Finding]] = {host: [] for host in nodes}
    count = int(settings["nproc_per_node"])

    def odd(name: str, hosts: Sequence[str], cause: str, expected: str, remedy: str) -> None:
        values = [nodes[host]["facts"][name] for host in hosts]
        if len(set(values)) > 1:
            usual = statistics.mode(values)
            for host, value in zip(hosts, values):
                if value != usual:
                    found[host].append(finding(cause, str(value), f"{usual}, as on {values.count(usual)} of "
                                               f"{len(values)} nodes{expected}", remedy))

    odd("npus", [host for host in nodes if nodes[host]["facts"].get("npus", 0) >= count],
        "The number of usable NPUs differs between the nodes", "",
        "Repair the node, or take it out of the inventory group: every node starts plan_nproc_per_node ranks.")
    odd("driver", [host for host in nodes if nodes[host]["facts"].get("driver")],
        "The driver version differs between the nodes", "",
        "Install the same driver and firmware on all nodes: HCCL fails between different ones.")
    if settings.get("nfs"):
        odd("user_ids", [host for host in nodes if nodes[host]["facts"].get("user_ids")],
            "The training user has other numbers (uid:gid) than on the other nodes", "",
            "NFS knows users by number: give cluster_user the same uid and gid on all nodes (usermod -u, groupmod -g); "
            "node_base_uid sets them where the user is made.")
    offsets = {host: data["facts"]["clock_offset"] for host, data in nodes.items() if "clock_offset" in data["facts"]}
    if offsets:
        middle = statistics.median_low(offsets.values())
        most = float(settings["max_clock_skew_seconds"])
        for host, offset in offsets.items():
            if abs(offset - middle) > most:
                found[host].append(finding(
                    "The clock differs from the other nodes", f"{offset - middle:+.0f} s",
                    f"at most {most:g} s (preflight_max_clock_skew_seconds)", "Start chrony or another time service there."))
    return found


def fold_names(hosts: Sequence[str]) -> str:
    """Shorten a list of nodes: ``node3, node4, node5 … node19 (17 nodes)``."""
    if len(hosts) <= 4:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:3])} … {hosts[-1]} ({len(hosts)} nodes)"


def _word(cause: str, expected: str, remedy: str, found: Sequence[tuple[str, str]]) -> str:
    by_value: dict[str, list[str]] = {}
    for host, value in found:
        by_value.setdefault(value, []).append(host)
    if len(by_value) == 1:
        shown = next(iter(by_value))
    else:
        some = [f"{value} on {fold_names(hosts)}" for value, hosts in list(by_value.items())[:4]]
        shown = "; ".join(some) + (f"; and {len(by_value) - 4} more" if len(by_value) > 4 else "")
    return f"{cause}: found {shown}; expected {expected}. {remedy}"


def report(nodes: Mapping[str, Mapping[str, Any]], errors: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put the findings about the cluster and of all nodes into one message.

    Args:
        nodes: what :func:`node` returned, by name, in the order of the inventory.
        errors: messages about the inventory and the plan.
        settings: ``nproc_per_node``, ``max_clock_skew_seconds`` and ``nfs``.

    Returns:
        ``message``: for the refusal, "" when there is nothing to refuse; ``summary``: one line about the nodes;
        ``count``: number of different findings.
    """
    between = _between_nodes(nodes, settings)
    # Equal findings over the nodes that have them, then those with the same set of nodes under one heading.
    folded: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    alone: dict[tuple[str, str, str], str] = {}
    for host, data in nodes.items():
        for item in [*data["findings"], *between[host]]:
            key = (item["cause"], item["expected"], item["remedy"].replace(f"`ansible {host} ", "`ansible NODE "))
            folded.setdefault(key, []).append((host, item["found"]))
            alone[key] = item.get("remedy_alone", key[2])
    headings: dict[tuple[str, ...], list[str]] = {}
    for (cause, expected, remedy), found in folded.items():
        hosts = tuple(dict.fromkeys(host for host, _ in found))
        if len(hosts) == 1:
            remedy = alone[cause, expected, remedy].replace("`ansible NODE ", f"`ansible {hosts[0]} ")
            found = [(hosts[0], ", ".join(value for _, value in found))]
        headings.setdefault(hosts, []).append(_word(cause, expected, remedy, found))
    count = len(errors) + sum(len(texts) for texts in headings.values())
    blocks = []
    if errors:
        blocks.append("\n".join(["The inventory and the plan:", *(f"  - {error}" for error in errors)]))
    for hosts, texts in headings.items():
        blocks.append("\n".join([f"{fold_names(hosts)}:", *(f"  - {text}" for text in texts)]))
    message = ""
    if count:
        bad = len({host for hosts in headings for host in hosts})
        where = f" on {bad} of {len(nodes)} nodes" if bad else ""
        message = "\n\n".join([f"Preflight: {count} finding{'s' if count != 1 else ''}{where}. Nothing has been changed.",
                               *blocks])
    return {"message": message, "count": count, "summary": summary(nodes)}


def summary(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: how many nodes, their NPUs, drivers and Python versions."""
    facts = [data["facts"] for data in nodes.values() if data["facts"]]

    def seen(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values if value != ""})) or "unknown"

    running = sum(data["job"] in RUNNING for data in nodes.values())
    unknown = {name for fact in facts for name in fact["unknown_chips"]}
    return (f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} ready: NPUs on each {seen(fact['npus'] for fact in facts)} "
            f"({seen(name for fact in facts for name in fact['npu_names'])}), "
            f"driver {seen(fact['driver'] for fact in facts)}, Python {seen(fact['python'] for fact in facts)}, "
            f"{seen(fact['arch'] for fact in facts)}"
            + (f"; the training job runs on {running}" if running else "")
            + (f"; npu-smi does not tell the generation of {seen(unknown)}: whether it has bf16, and kernels of its own, was not checked"
               if unknown else ""))
