"""Findings of the preflight, and how all of all nodes become one message.

A *finding* is a mapping of ``cause`` (what is wrong), ``found`` (what this node shows), ``expected`` and ``remedy``
(with the variable or command). Findings that differ in ``found`` only are folded over the nodes that have them; where
one node alone has it, ``remedy_alone`` takes the remedy's place.
"""
from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms, _profile, _unknown
from ansible_collections.ascend.cluster.plugins.module_utils._checks import CHECKS, RUNNING, Finding
from ansible_collections.ascend.cluster.plugins.module_utils._compare import compare
from ansible_collections.ascend.cluster.plugins.module_utils._reach import judge as judge_reach
from ansible_collections.ascend.cluster.plugins.module_utils._reach import let_in


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


def message(kind: str, errors: Sequence[str], findings: Mapping[str, Sequence[Finding]], nodes: int, who: str = "Preflight",
            after: str = "") -> tuple[int, str]:
    """Make one message of findings of a kind ("finding", "warning"); returns how many different ones there are as well."""
    headings = _headings(findings)
    count = len(errors) + sum(len(texts) for texts in headings.values())
    if not count:
        return 0, ""
    blocks = ["\n".join(["The inventory and the plan:", *(f"  - {error}" for error in errors)])] if errors else []
    blocks += ["\n".join([f"{fold_names(hosts)}:", *(f"  - {text}" for text in texts)]) for hosts, texts in headings.items()]
    bad = len({host for hosts in headings for host in hosts})
    where = f" on {bad} of {nodes} nodes" if bad else ""
    return count, "\n\n".join([f"{who}: {count} {kind}{'s' if count != 1 else ''}{where}.{after}", *blocks])


def report(nodes: Mapping[str, Mapping[str, Any]], errors: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put the findings about the cluster and of all nodes into one message.

    Args:
        nodes: what :func:`_probe.node` returned, by name, in the order of the inventory.
        errors: messages about the inventory and the plan.
        settings: ``nproc_per_node``, ``max_clock_skew_seconds``, ``nfs``, ``strict`` (warnings count as failures), ``time``, ``ranks`` (by node),
            ``checkpoint`` (what _parallel_plan says of one; {} where that is not known), ``checkpoint_path``, ``reach_always`` (which nodes reach each
            other was to be looked at), and where there is one ``profile`` (as :func:`_profile.read` returns it) with ``profile_path``.

    Returns:
        ``message``: for the refusal, "" when there is nothing to refuse; ``warnings``: what is told and refuses nothing,
        "" when there is none; ``summary``: one line about the nodes; ``count``: number of different findings that refuse; ``result``:
        all of it, see :func:`_check_forms.result`; ``profile``: of this cluster, see :func:`_profile.make`.
    """
    between = compare(nodes, settings)
    reach = {host: data["reach"] for host, data in nodes.items() if data.get("reach")}
    held = _profile.hold(nodes, settings["profile"], settings["profile_path"]) if settings.get("profile") else {}
    for host, items in [*judge_reach(reach).items(), *held.items()]:
        between[host] += items
    proved = let_in(reach) if len(reach) == len(nodes) else set()
    refusing: dict[str, list[Finding]] = {}
    told: dict[str, list[Finding]] = {}
    counted: dict[str, list[Finding]] = {}
    for host, data in nodes.items():
        for item in [*data["findings"], *between[host]]:
            if item["check"] == "firewall" and host in proved:
                continue
            # A node alone trains over its own links.
            alone = len(nodes) == 1 and CHECKS[item["check"]].area == "fabric"
            refuses = (item["severity"] == "failure" and not alone) or settings.get("strict")
            (refusing if refuses else told).setdefault(host, []).append(item)
            counted.setdefault(host, []).append({**item, "severity": "failure" if refuses else "warning"})
    count, words = message("finding", errors, refusing, len(nodes), after=" Nothing has been changed.")
    _, warnings = message("warning", [], told, len(nodes))
    time = str(settings.get("time", ""))
    unknown = not_looked_at(nodes, settings)
    return {"message": words, "count": count, "warnings": warnings, "summary": summary(nodes, unknown), "profile": _profile.make(nodes, time),
            "result": _check_forms.result(counted, errors, nodes, time, unknown)}


def not_looked_at(nodes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Say what could not be looked at; what is the same on several nodes once."""
    answered = [host for host, data in nodes.items() if data["facts"]]
    found = _unknown.of_cluster(nodes, bool(settings.get("reach_always")))
    return [text + ("" if hosts == answered else f" on {fold_names(hosts)}") for text, hosts in found.items()]


def summary(nodes: Mapping[str, Mapping[str, Any]], unknown: Sequence[str]) -> str:
    """One line: how many nodes, their NPUs, drivers and Python versions, and what was not looked at."""
    facts = [data["facts"] for data in nodes.values() if data["facts"]]

    def seen(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values if value != ""})) or "unknown"

    running = sum(data["job"] in RUNNING for data in nodes.values())
    return (f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} ready: NPUs on each {seen(fact['npus'] for fact in facts)} "
            f"({seen(name for fact in facts for name in fact['npu_names'])}), "
            f"driver {seen(fact['driver'] for fact in facts)}, Python {seen(fact['python'] for fact in facts)}, "
            f"{seen(fact['arch'] for fact in facts)}"
            + (f"; the training job runs on {running}" if running else "")
            + (f"; not looked at: {'; '.join(unknown)}" if unknown else ""))
