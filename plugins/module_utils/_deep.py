"""Judges what the NPUs did, alone and together: each against the others of this cluster, and against limits where the site has set some."""
from __future__ import annotations

import statistics
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _deep_read
from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding

# A rank that says one of these last has not met another yet.
_ALONE = ("start", "import torch_npu", "set NPU", "compute", "stress")
# Figure of an NPU to its check.
_OF_NPUS = {"memory_gb_per_second": "npu_memory_bandwidth", "host_gb_per_second": "host_copy"}
# What check_cluster_limits may name: where its figures are, and which figure.
LIMITS = {"tflops": ("npus", "tflops"), "memory_gb_per_second": ("npus", "memory_gb_per_second"), "host_gb_per_second": ("npus", "host_gb_per_second"),
          "node_all_reduce": ("nodes", "all_reduce"), "node_all_to_all": ("nodes", "all_to_all"),
          "pair_all_reduce": ("pairs", "all_reduce"), "pair_all_to_all": ("pairs", "all_to_all")}
_SAMPLES = 6
Found = tuple[str, Finding]
Npus = Mapping[str, Sequence[str]]


def judge(outputs: Mapping[str, Mapping[str, Any]], master: str, settings: Mapping[str, Any], npus: Npus) -> dict[str, Any]:
    """Judge what the nodes printed.

    Args:
        outputs: by node, in their order, what the task that waited for the program returned.
        master: which of them ordered.
        settings: ``slow_factor``, ``bandwidth_share``, ``limits``.
        npus: see :func:`_name`.

    Returns:
        ``findings`` by node, and ``measured``, see :func:`_deep_read.measured`.
    """
    said = _deep_read.printed(outputs[master])
    figures = _deep_read.measured(said)
    for one in (*figures["npus"], *figures["series"]):
        one["name"] = _name(npus, one["node"], one["npu"])
    found: dict[str, list[Finding]] = {node: [] for node in outputs}
    for node, item in [*_absent(outputs, master, said), *_phases(said, npus), *_blamed(said), *_slow(figures, settings), *_slow_nodes(figures, settings),
                       *_slow_pairs(figures, settings), *_limits(figures, settings), *_drift(figures, settings)]:
        found[node].append(item)
    return {"findings": found, "measured": figures}


def _absent(outputs: Mapping[str, Mapping[str, Any]], master: str, said: Mapping[str, Any]) -> Iterator[Found]:
    if "error" in said:
        yield master, finding("deep_answer", said["error"])
        return
    for node in outputs:
        if node not in said["joined"]:
            yield node, finding("deep_answer", _deep_read.printed(outputs[node]).get("error", "it did not come to the master"))


def _words(one: Mapping[str, Any]) -> str:
    last = next((line.strip() for line in reversed(one.get("text", "").splitlines()) if line.strip()), "")
    return f"{one['failed']} in {one['at']}" + (f" ({last[:300]})" if last else "")


def _name(npus: Npus, node: str, device: int) -> str:
    """Name a device of torch as npu-smi does.

    Args:
        npus: by node, what :func:`_npu_smi_more.torch_devices` said.
        node: where it is.
        device: torch's number; a card with two chips has two, and cards need not be numbered from 0.
    """
    known = npus.get(node, [])
    name = known[device] if device < len(known) else ""
    return name if name == f"NPU {device}" else f"device {device}" + (f" ({name})" if name else "")


def _grouped(words: Mapping[str, str]) -> Iterator[str]:
    """Those of the NPUs with the same words together."""
    for text in dict.fromkeys(words.values()):
        names = [name for name in words if words[name] == text]
        # NPU 0, 1 where all are named so.
        shown = ", ".join(name if at == 0 or not names[0].startswith("NPU") else name.removeprefix("NPU ") for at, name in enumerate(names))
        yield f"{shown}: {text}"


def _phases(said: Mapping[str, Any], npus: Npus) -> Iterator[Found]:
    """What failed or was wrong where it can be said whose fault it is: not in pairs, and not what only ended with others."""
    for phase in said.get("phases", []):
        if phase["name"].startswith("pairs") or phase["what"] == "vendor":
            yield from ((node, finding("collective_value", "hccl_test: check_result failed")) for node, ranks in phase["results"].items()
                        if ranks[0].get("checked") == "failed")
            continue
        for node, ranks in phase["results"].items():
            if any("device" not in one for one in ranks):
                yield node, finding("deep_answer", f"no answer in the measurement {phase['name']}")
                continue
            of_check: dict[str, dict[str, str]] = {}
            for one in ranks:
                name = _name(npus, node, one["device"])
                if "failed" in one and not one["failed"].startswith("ended, since"):
                    alone = one["at"].startswith(_ALONE)
                    check = "npu_compute" if alone else "all_nodes" if max(map(len, phase["groups"]), default=0) > 1 else "collective_answer"
                    of_check.setdefault(check, {})[name] = _words(one)
                parts = {"npu_value": [one.get("compute", {})], "collective_value": [one.get("collectives", {})]}
                for sample in one.get("stress", {}).get("samples", []):
                    parts["npu_value"].append(sample)
                for check, some in parts.items():
                    wrong = [text for part in some for text in part.get("wrong", [])]
                    if wrong:
                        of_check.setdefault(check, {})[name] = wrong[0]
            for check, words in of_check.items():
                yield from ((node, finding(check, text)) for text in _grouped(words))


def _blamed(said: Mapping[str, Any]) -> Iterator[Found]:
    failed = {node: [other for phase in _deep_read.phases(said, "pairs") for group in phase["groups"] if node in group for other in group if other != node]
              for node in said.get("bad", [])}
    for node, others in failed.items():
        words = [wrong for phase in _deep_read.phases(said, "pairs") for one in phase["results"].get(node, [])
                 for wrong in ([_words(one)] if "failed" in one else one.get("collectives", {}).get("wrong", []))]
        plain = [text for text in words if not text.startswith("ended, since")]
        yield node, finding("pair_fails", f"with {' and '.join(dict.fromkeys(others))}: {(plain or words or ['no answer'])[0]}")
    for group in said.get("unsure", []):
        for node in group:
            yield node, finding("pair_unsure", f"{' with '.join(group)}")


def _slow(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Found]:
    npus = figures["npus"]
    if len(npus) < 2:
        return
    factor, share = float(settings["slow_factor"]), float(settings["bandwidth_share"])
    usual = statistics.median_low(one["matmul_seconds"] for one in npus)
    for one in npus:
        if one["matmul_seconds"] > factor * usual:
            found = f"{one['name']}: {one['matmul_seconds'] * 1000:.3g} ms"
            yield one["node"], finding("npu_slow", found, usual=f"{usual * 1000:.3g}", factor=f"{factor:g}")
    for name, check in _OF_NPUS.items():
        usual = statistics.median_high(one[name] for one in npus)
        for one in npus:
            if one[name] < usual * (1 - share):
                yield one["node"], finding(check, f"{one['name']}: {one[name]:.3g} GB/s", least=f"{usual * (1 - share):.3g}", usual=f"{usual:.3g}")


def _below(values: Mapping[str, float], share: float) -> Iterator[tuple[str, float, float]]:
    if len(values) > 1:
        usual = statistics.median_high(values.values())
        yield from ((node, value, usual) for node, value in values.items() if value < usual * (1 - share))


def _slow_nodes(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Found]:
    share = float(settings["bandwidth_share"])
    for collective in _deep_read.COLLECTIVES:
        values = {one["node"]: one[collective] for one in figures["nodes"] if one[collective] is not None}
        for node, value, usual in _below(values, share):
            yield node, finding("node_bandwidth", f"{collective} {value:.3g} GB/s", least=f"{usual * (1 - share):.3g}", usual=f"{usual:.3g}")


def _slow_pairs(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Found]:
    """A node that is slow with everybody, else a pair that is slow."""
    share = float(settings["bandwidth_share"])
    for collective in _deep_read.COLLECTIVES:
        works = [one for one in figures["pairs"] if one[collective] is not None]
        if len(works) < 2:
            continue
        usual = statistics.median_high(one[collective] for one in works)
        least = usual * (1 - share)
        best: dict[str, float] = {}
        met: dict[str, int] = {}
        for one in works:
            for node in one["nodes"]:
                best[node], met[node] = max(best.get(node, 0.0), one[collective]), met.get(node, 0) + 1
        # Of a node that met one other alone it cannot be told which of them is slow.
        slow = {node for node, value in best.items() if value < least and met[node] > 1}
        for node in sorted(slow, key=list(best).index):
            yield node, finding("pair_bandwidth", f"{collective} {best[node]:.3g} GB/s at best", least=f"{least:.3g}", usual=f"{usual:.3g}")
        for one in works:
            if one[collective] < least and not slow & set(one["nodes"]):
                for node, other in (one["nodes"], one["nodes"][::-1]):
                    yield node, finding("way_bandwidth", f"with {other}: {collective} {one[collective]:.3g} GB/s", least=f"{least:.3g}", usual=f"{usual:.3g}")


def _limits(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Found]:
    for name, least in settings["limits"].items():
        place, figure = LIMITS[name]
        for one in figures[place]:
            if one.get(figure) is not None and one[figure] < float(least):
                what = f"{one['name']}: " if "npu" in one else f"{' with '.join(one['nodes'])}: " if "nodes" in one else ""
                for node in one.get("nodes", [one.get("node")]):
                    yield node, finding("below_limit", f"{what}{one[figure]:.4g}", figure=name, least=f"{float(least):g}")


def fell(values: Sequence[float]) -> tuple[float, float]:
    """What was usual in the first third of a time, and in the last."""
    third = max(1, len(values) // 3)
    return statistics.median(values[:third]), statistics.median(values[-third:])


def _drift(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Found]:
    share = float(settings["bandwidth_share"])
    for one in figures["series"]:
        if len(one["seconds"]) < _SAMPLES:
            continue
        for name in ("tflops", "memory_gb_per_second", "host_gb_per_second", *_deep_read.COLLECTIVES):
            first, last = fell(one[name]) if name in one else (0.0, 0.0)
            if last < first * (1 - share):
                yield one["node"], finding("drift", f"{one['name']}: {name} from {first:.3g} to {last:.3g} in {one['seconds'][-1] / 60:.3g} min",
                                           percent=f"{share * 100:g}")
