"""What of a node could not be looked at, in words: said beside the findings, and never taken for well. It does not change the status."""
from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi_more, _probe_fabric, _probe_host, _probe_npus, _probe_versions
from ansible_collections.ascend.cluster.plugins.module_utils._checks import RUNNING
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import KILLED

Values = Mapping[str, Sequence[str]]


def of_node(values: Values, settings: Mapping[str, Any], smi: Mapping[str, Any], fabric: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """List what one node could not tell, where no finding says so."""
    chips = _probe_npus.unknown_chips(smi["chips"])
    found = [f"the generation of {', '.join(chips)}, so whether it has bf16, and kernels of its own (npu-smi does not tell)"] if chips else []
    found += [f"whether {pair} goes together (no table of the stack tells)" for pair in _probe_versions.unknown(values, settings)]
    return [*found, *_fabric(fabric), *_memory(values, smi), *_host(values)]


def _fabric(fabric: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """NPUs that leave the same questions open together: a 950 knows none, as it takes its arguments in another order."""
    by_npus: dict[tuple[int, ...], list[str]] = {}
    for query, devices in _probe_fabric.unjudged(fabric).items():
        by_npus.setdefault(tuple(devices), []).append(query)
    for npus, queries in by_npus.items():
        yield f"{', '.join(queries)} of NPU {_probe_fabric.listed(npus)} (hccn_tool does not tell)"


def _memory(values: Values, smi: Mapping[str, Any]) -> Iterator[str]:
    told = _npu_smi_more.read(values.get("npu_more", []))
    silent = sorted({chip["npu"] for chip in smi["chips"] if not isinstance(told.get((chip["npu"], chip["chip"]), {}).get("ecc"), dict)})
    if silent:
        yield f"errors of the memory of NPU {_probe_fabric.listed(silent)} (npu-smi info -t ecc does not tell)"


def _host(values: Values) -> Iterator[str]:
    if "kernel_log_read" not in values:
        yield "the kernel's log (dmesg cannot be read)"
    disks = list(values.get("disk_silent", []))
    if disks:
        yield f"the health of {', '.join(disks[:4])}{' …' if len(disks) > 4 else ''} (no smartctl or nvme, or they do not tell)"
    for code, file, said in _probe_host.read_speeds(values):
        if code not in ("0", *map(str, KILLED)) and "Input/output error" not in said:
            yield f"how fast {file} is read ({said[:200] or 'dd said nothing'})"


def of_cluster(nodes: Mapping[str, Mapping[str, Any]], reach: bool) -> dict[str, list[str]]:
    """Tell what is unknown, with the nodes of which it is; ``reach``: that which nodes reach each other was to be looked at."""
    found: dict[str, list[str]] = {}
    for host, data in nodes.items():
        for text in data["facts"].get("unknown", []):
            found.setdefault(text, []).append(host)
        if reach and len(nodes) > 1 and not data.get("reach"):
            why = "our own run is in progress" if data["job"] in RUNNING else "it gave no answer" if not data["facts"] else "no other node could be tried"
            found.setdefault(f"who reaches it, and whom it reaches ({why})", []).append(host)
    return found
