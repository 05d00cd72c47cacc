"""Findings of the preflight, and how all of all nodes become one message.

A *finding* is a mapping of ``cause`` (what is wrong), ``found`` (what this node shows), ``expected`` and ``remedy``
(with the variable or command). Findings that differ in ``found`` only are folded over the nodes that have them; where
one node alone has it, ``remedy_alone`` takes the remedy's place.
"""
from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms
from ansible_collections.ascend.cluster.plugins.module_utils._checks import CHECKS, RUNNING, Finding
from ansible_collections.ascend.cluster.plugins.module_utils._compare import compare
from ansible_collections.ascend.cluster.plugins.module_utils._reach import judge as judge_reach


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


def _headings(findings: Mapping[str, Sequence[Finding]]) -> dict[tuple[str, ...], list[str]]:
    """Word findings by the nodes that have them: equal ones are folded, those of the same nodes stand together."""
    folded: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    alone: dict[tuple[str, str, str], str] = {}
    for host, items in findings.items():
        for item in items:
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
    return headings


def _message(kind: str, errors: Sequence[str], headings: Mapping[tuple[str, ...], Sequence[str]], nodes: int, after: str) -> tuple[str, int]:
    count = len(errors) + sum(len(texts) for texts in headings.values())
    if not count:
        return "", 0
    blocks = ["\n".join(["The inventory and the plan:", *(f"  - {error}" for error in errors)])] if errors else []
    blocks += ["\n".join([f"{fold_names(hosts)}:", *(f"  - {text}" for text in texts)]) for hosts, texts in headings.items()]
    bad = len({host for hosts in headings for host in hosts})
    where = f" on {bad} of {nodes} nodes" if bad else ""
    return "\n\n".join([f"Preflight: {count} {kind}{'s' if count != 1 else ''}{where}.{after}", *blocks]), count


def report(nodes: Mapping[str, Mapping[str, Any]], errors: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put the findings about the cluster and of all nodes into one message.

    Args:
        nodes: what :func:`_probe.node` returned, by name, in the order of the inventory.
        errors: messages about the inventory and the plan.
        settings: ``nproc_per_node``, ``max_clock_skew_seconds``, ``nfs``, ``strict`` (warnings count as failures), ``time``, ``ranks`` (by node),
            ``checkpoint`` (what _parallel_plan says of one; {} where that is not known) and ``checkpoint_path``.

    Returns:
        ``message``: for the refusal, "" when there is nothing to refuse; ``warnings``: what is told and refuses nothing,
        "" when there is none; ``summary``: one line about the nodes; ``count``: number of different findings that refuse; ``result``:
        all of it, see :func:`_check_forms.result`.
    """
    between = compare(nodes, settings)
    reach = {host: data["reach"] for host, data in nodes.items() if data.get("reach")}
    for host, items in judge_reach(reach).items():
        between[host] += items
    refusing: dict[str, list[Finding]] = {}
    told: dict[str, list[Finding]] = {}
    counted: dict[str, list[Finding]] = {}
    for host, data in nodes.items():
        for item in [*data["findings"], *between[host]]:
            # A node alone trains over its own links.
            alone = len(nodes) == 1 and CHECKS[item["check"]].area == "fabric"
            refuses = (item["severity"] == "failure" and not alone) or settings.get("strict")
            (refusing if refuses else told).setdefault(host, []).append(item)
            counted.setdefault(host, []).append({**item, "severity": "failure" if refuses else "warning"})
    message, count = _message("finding", errors, _headings(refusing), len(nodes), " Nothing has been changed.")
    warnings, _ = _message("warning", [], _headings(told), len(nodes), "")
    return {"message": message, "count": count, "warnings": warnings, "summary": summary(nodes),
            "result": _check_forms.result(counted, errors, nodes, str(settings.get("time", "")))}


def summary(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: how many nodes, their NPUs, drivers and Python versions."""
    facts = [data["facts"] for data in nodes.values() if data["facts"]]

    def seen(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values if value != ""})) or "unknown"

    running = sum(data["job"] in RUNNING for data in nodes.values())
    unknown = {name for fact in facts for name in fact["unknown_chips"]}
    silent = {host: data["facts"]["fabric_unjudged"] for host, data in nodes.items() if data["facts"] and data["facts"]["fabric_unjudged"]}
    pairs = {pair for fact in facts for pair in fact["unknown_pairs"]}
    return (f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} ready: NPUs on each {seen(fact['npus'] for fact in facts)} "
            f"({seen(name for fact in facts for name in fact['npu_names'])}), "
            f"driver {seen(fact['driver'] for fact in facts)}, Python {seen(fact['python'] for fact in facts)}, "
            f"{seen(fact['arch'] for fact in facts)}"
            + (f"; the training job runs on {running}" if running else "")
            + (f"; npu-smi does not tell the generation of {seen(unknown)}: whether it has bf16, and kernels of its own, was not checked"
               if unknown else "")
            + (f"; the network of {sum(silent.values())} NPUs was not judged, on {fold_names(list(silent))}: hccn_tool does not know these questions there, "
               "as that of a 950, which takes other arguments" if silent else "")
            + (f"; no table of the stack tells whether these go together, which was not checked: {seen(pairs)}" if pairs else ""))
