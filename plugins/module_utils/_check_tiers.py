"""What the tiers of playbooks/check_cluster.yml make of each other: whether the next one begins, and one report of all."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _findings
from ansible_collections.ascend.cluster.plugins.module_utils._checks import RUNNING, TABLE, Finding

# Each goes on where the one before found no failure. What is looked at in quick at times only has another name.
_RANK = {"quick": 0, "deep": 1, "stress": 2}


def begins(report: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Say why the NPUs are not measured.

    Args:
        report: of the preflight.
        looks: by node, the result of the task that looked for the environment: a line ``missing=`` for each thing.

    Returns:
        ``words``: "" when nothing is in the way; ``error``: whether the words themselves refuse, since nothing else does.
    """
    result = report["result"]
    if report["count"]:
        return {"words": "quick found failures", "error": False}
    running = [node for node, data in result["nodes"].items() if data["job"] in RUNNING]
    if running:
        return {"words": f"the training job runs on {_findings.fold_names(running)} and is not disturbed: wait for its end, or stop it with "
                         "`ansible-playbook playbooks/stop.yml`", "error": True}
    silent = [node for node, look in looks.items() if look.get("rc") != 0 or look.get("unreachable")]
    if silent:
        look = looks[silent[0]]
        words = str(look.get("stdout") or look.get("stderr") or look.get("msg") or "").strip()[-300:]
        return {"words": f"the program could not be brought to {_findings.fold_names(silent)}: {words}", "error": True}
    lacks = {node: [line[8:] for line in look["stdout"].splitlines() if line.startswith("missing=")] for node, look in looks.items()}
    without = [node for node, missing in lacks.items() if missing]
    if without:
        return {"words": f"the environment of the training is not installed on {_findings.fold_names(without)}: found no {', no '.join(lacks[without[0]])}. "
                         "Run `ansible-playbook site.yml --tags node_base,cann_toolkit,conda_env` with this inventory, then this again", "error": True}
    return {"words": "", "error": False}


def expects(measured: Mapping[str, Any], nodes: int, minutes: float) -> str:
    """Say how long a stress will take, by the time that the deep tier's meetings took."""
    rounds = 0 if nodes < 2 else nodes - 1 if nodes % 2 == 0 else nodes
    each = float(measured["meeting_seconds"])
    total = minutes + rounds * each / 60
    return (f"stress: {minutes:g} min of the same again and again (check_cluster_stress_minutes)"
            + (f", then every node with every other in {rounds} round{'s' if rounds > 1 else ''} of about {each:.0f} s" if rounds else "")
            + f": about {total:.0f} min in all")


def together(report: Mapping[str, Any], tier: str, begun: Mapping[str, Any], judged: Sequence[Mapping[str, Any]], strict: bool) -> dict[str, Any]:
    """Make one report of the tiers.

    Args:
        report: of the preflight, see :func:`_findings.report`.
        tier: the one that was asked for.
        begun: of :func:`begins`, with ``tier``: the first one that was not begun, where one was not.
        judged: of :func:`_deep.judge`, of the tiers that were measured.
        strict: whether warnings refuse, too.

    Returns:
        ``message``, ``count``, ``warnings`` and ``result`` as the preflight's.
    """
    result = dict(report["result"])
    refusing: dict[str, list[Finding]] = {}
    told: dict[str, list[Finding]] = {}
    counted = []
    for one in judged:
        for node, items in one["findings"].items():
            for item in items:
                refuses = strict or item["severity"] == "failure"
                (refusing if refuses else told).setdefault(node, []).append(item)
                counted.append({"node": node, **item, "severity": "failure" if refuses else "warning"})
    not_begun = f"{begun['tier']}: not begun, {begun['words']}." if begun.get("words") else ""
    errors = [not_begun] if begun.get("error") else []
    count, message = _findings.message("finding", [], refusing, len(result["nodes"]), "Measured")
    _, warnings = _findings.message("warning", [], told, len(result["nodes"]), "Measured")
    result.update(tier=tier, not_begun=not_begun, errors=[*result["errors"], *errors], findings=[*result["findings"], *counted],
                  checks=sum(_RANK.get(check.tier, 0) <= _RANK[tier] for check in TABLE), measured=merged([one["measured"] for one in judged]))
    failures = result["errors"] or any(item["severity"] == "failure" for item in result["findings"])
    result["status"] = "failures" if failures else "warnings" if result["findings"] else "clean"
    parts = {"message": [report["message"], message, not_begun], "warnings": [report["warnings"], warnings]}
    texts = {key: "\n\n".join(part for part in some if part) for key, some in parts.items()}
    return {**texts, "count": report["count"] + count + len(errors), "result": result}


def merged(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of deep and of stress as one: those of NPUs and nodes of the first, those of pairs and of time of the last."""
    if not measured:
        return {}
    first, last = measured[0], measured[-1]
    return {**first, "pairs": last["pairs"] or first["pairs"], "series": last["series"], "seconds": sum(one["seconds"] for one in measured)}
