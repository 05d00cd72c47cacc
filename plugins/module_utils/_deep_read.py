"""Reads what the program of role check_cluster (files/cluster_check) printed on the nodes into figures by NPU, node and pair."""
from __future__ import annotations

import json
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _import_causes

Ranks = Sequence[Mapping[str, Any]]
COLLECTIVES = ("all_reduce", "all_to_all")


def printed(result: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping that a node printed; without one, ``error`` says what it did instead."""
    # Raw goes through a terminal: lines end with a return as well, and what a program says of errors is in its output.
    text = "\n".join(str(result.get("stdout", "")).splitlines())
    said, _, errors = text.partition("\n--- errors\n")
    try:
        found = json.loads(said.strip().splitlines()[-1])
        if isinstance(found, dict):
            return found
    except (ValueError, LookupError):
        pass
    words = next((words for words in (errors, said, str(result.get("stderr", "")), str(result.get("msg", ""))) if words.strip()), "")
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "it said nothing")
    return {"error": f"{last} (likely cause: {_import_causes.import_cause(words)})" if words.strip() else last}


def phases(said: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The measurements of a name; ``pairs`` are several."""
    return [one for one in said.get("phases", []) if one["name"] == name or one["name"].startswith(f"{name} ")]


def worked(ranks: Ranks) -> bool:
    """Whether each NPU gave figures."""
    return bool(ranks) and all("failed" not in one for one in ranks)


def slowest(ranks: Ranks, collective: str) -> float | None:
    """GB/s of a collective on the slowest of the ranks; None where not all have some."""
    figures = [one.get("collectives", {}).get(collective, {}).get("gb_per_second") for one in ranks]
    return min(figures) if figures and None not in figures else None


def _round(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _npus(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    together = {node: {one.get("device"): one for one in ranks} for phase in phases(said, "all") for node, ranks in phase["results"].items()}
    for phase in phases(said, "node"):
        for node, ranks in phase["results"].items():
            for one in ranks:
                if "compute" in one:
                    compute = {key: _round(value) for key, value in one["compute"].items() if key not in ("wrong", "pinned")}
                    found = {"node": node, "npu": one["device"], **compute}
                    for place, result in (("node", one), ("all", together.get(node, {}).get(one["device"], {}))):
                        for collective in COLLECTIVES:
                            if collective in result.get("collectives", {}):
                                found[f"{place}_{collective}"] = _round(result["collectives"][collective]["gb_per_second"])
                    yield found


def _nodes(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    vendor = {node: ranks[0] for phase in phases(said, "vendor") for node, ranks in phase["results"].items()}
    for phase in phases(said, "node"):
        for node, ranks in phase["results"].items():
            found: dict[str, Any] = {"node": node, "works": worked(ranks)}
            found.update({collective: _round(slowest(ranks, collective)) for collective in COLLECTIVES})
            if "gb_per_second" in vendor.get(node, {}):
                found["hccl_test"] = _round(vendor[node]["gb_per_second"])
            yield found


def _pairs(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    listed = phases(said, "pairs")
    # All nodes are a pair where there are two.
    if not listed:
        listed = [phase for phase in phases(said, "all") if len(phase["groups"][0]) == 2]
    for phase in listed:
        for group in phase["groups"]:
            ranks = [one for node in group for one in phase["results"].get(node, [{"failed": ""}])]
            works = worked(ranks) and not any(one.get("collectives", {}).get("wrong") for one in ranks)
            yield {"nodes": group, "works": works, **{collective: _round(slowest(ranks, collective)) if works else None for collective in COLLECTIVES}}


def _series(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for phase in phases(said, "stress"):
        for node, ranks in phase["results"].items():
            for one in ranks:
                samples = one.get("stress", {}).get("samples", [])
                if samples:
                    yield {"node": node, "npu": one["device"], "seconds": [_round(sample["at"]) for sample in samples],
                           **{key: [_round(sample[key]) for sample in samples] for key in ("tflops", "memory_gb_per_second", "host_gb_per_second")},
                           **{key: [_round(sample[key]["gb_per_second"]) for sample in samples] for key in COLLECTIVES if key in samples[0]}}


def measured(said: Mapping[str, Any]) -> dict[str, Any]:
    """All figures: which software measured, by NPU, by node, by pair of nodes, and over time; and the seconds that the measurements took."""
    ranks = [one for phase in said.get("phases", []) for ranks in phase["results"].values() for one in ranks]
    tools = sorted({one["versions"] for one in ranks if "versions" in one})
    vendor = sorted({f"hccl_test: {one['why']}" if "why" in one else "hccl_test" for one in ranks if one.get("tool") == "hccl_test"})
    meetings = [phase["seconds"] for phase in said.get("phases", []) if phase["name"].startswith(("pairs", "all"))]
    return {"tools": [*(f"{one} over hccl" for one in tools), *vendor], "npus": list(_npus(said)), "nodes": list(_nodes(said)), "pairs": list(_pairs(said)),
            "series": list(_series(said)), "seconds": _round(float(sum(phase["seconds"] for phase in said.get("phases", [])))),
            "meeting_seconds": _round(float(max(meetings, default=0.0)))}
