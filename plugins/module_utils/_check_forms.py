"""What the checks found, in the forms of other programs: JSON, Prometheus' text and one HTML page."""
from __future__ import annotations

import datetime
import html
import json
from collections import Counter
from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _deep_page
from ansible_collections.ascend.cluster.plugins.module_utils._checks import TABLE
from ansible_collections.ascend.cluster.plugins.module_utils._probe_fabric import listed

# docs/checks.schema.json describes it.
SCHEMA = 1
# Of the NPUs' own network.
NPU_ATTRIBUTES = ("netmask", "tls", "mtu", "speed")
# Facts that are the same on all nodes of a good cluster; npu_…: of its NPUs.
ATTRIBUTES = ("npus", "npu_name", "driver", "firmware", "system", "kernel", "arch", "python", "processors", "memory_gib", "mtu",
              *(f"npu_{name}" for name in NPU_ATTRIBUTES))


def result(findings: Mapping[str, Sequence[Mapping[str, Any]]], errors: Sequence[str], nodes: Mapping[str, Mapping[str, Any]], time: str,
           unknown: Sequence[str]) -> dict[str, Any]:
    """Put what was found into one mapping.

    Args:
        findings: of each node; each with ``check``, ``severity``, ``cause``, ``found``, ``expected`` and ``remedy``, severities as they counted.
        errors: messages about the inventory and the plan, which refuse.
        nodes: what was judged of each, with ``facts`` and ``job``.
        time: when, as ISO 8601.
        unknown: what was not looked at; it does not change the status.

    Returns:
        ``schema``, ``time``, ``status`` (clean, warnings or failures), ``tier``, ``not_begun`` (why a tier was not), ``checks`` (how many there are),
        ``measured`` (:func:`_deep_read.measured`), ``errors``, ``unknown``, ``findings`` (a list, each with its ``node``) and ``nodes`` (by name the attributes
        that are compared, ``answered`` and ``job``).
    """
    listed = [{"node": node, **{key: item[key] for key in ("check", "severity", "cause", "found", "expected", "remedy")}}
              for node, items in findings.items() for item in items]
    failures = bool(errors) or any(item["severity"] == "failure" for item in listed)
    return {"schema": SCHEMA, "time": time, "status": "failures" if failures else "warnings" if listed else "clean", "tier": "quick", "not_begun": "",
            "checks": sum(check.tier not in ("deep", "stress") for check in TABLE), "measured": {},
            "errors": list(errors), "unknown": list(unknown), "findings": listed,
            "nodes": {name: {"answered": bool(data["facts"]), "job": data["job"],
                             **{key: data["facts"].get(key, "") for key in ATTRIBUTES},
                             **{f"npu_{key}": _of_npus(data["facts"].get("fabric", {}), key) for key in NPU_ATTRIBUTES}} for name, data in nodes.items()}}


def _of_npus(fabric: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Word a value of a node's NPUs: the one that all have, else each with its NPUs."""
    by_value: dict[str, list[int]] = {}
    for device, npu in fabric.items():
        by_value.setdefault(str(npu[name]) or "unknown", []).append(int(device))
    return next(iter(by_value)) if len(by_value) == 1 else "; ".join(f"{value} on NPU {listed(devices)}" for value, devices in by_value.items())


def as_json(found: Mapping[str, Any]) -> str:
    """Write the mapping itself."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def as_prometheus(found: Mapping[str, Any]) -> str:
    """Write metrics for node_exporter's textfile collector: findings by node, check and severity, and the time of the look."""
    lines = ["# HELP ascend_cluster_check_finding What a check of the cluster found (1), by node.", "# TYPE ascend_cluster_check_finding gauge"]
    seen = Counter((item["node"], item["check"], item["severity"]) for item in found["findings"])
    for (node, check, severity), count in sorted(seen.items()):
        lines.append(f'ascend_cluster_check_finding{{node="{_label(node)}",check="{check}",severity="{severity}"}} {count}')
    lines += ["# HELP ascend_cluster_check_errors Errors of the inventory and the plan.", "# TYPE ascend_cluster_check_errors gauge",
              f"ascend_cluster_check_errors {len(found['errors'])}",
              "# HELP ascend_cluster_check_node_answered Whether the node answered.", "# TYPE ascend_cluster_check_node_answered gauge"]
    lines += [f'ascend_cluster_check_node_answered{{node="{_label(node)}"}} {int(data["answered"])}' for node, data in sorted(found["nodes"].items())]
    if found["time"]:
        seconds = datetime.datetime.fromisoformat(found["time"].replace("Z", "+00:00")).timestamp()
        lines += ["# HELP ascend_cluster_check_time_seconds When the cluster was looked at, in seconds since 1970.",
                  "# TYPE ascend_cluster_check_time_seconds gauge", f"ascend_cluster_check_time_seconds {seconds:.0f}"]
    for name, figure in _FIGURES.items():
        rows = [one for one in found["measured"].get("npus", []) if figure in one]
        if rows:
            lines += [f"# HELP {name} As an NPU of a node was measured.", f"# TYPE {name} gauge"]
            lines += [f'{name}{{node="{_label(one["node"])}",npu="{one["npu"]}"}} {one[figure]:g}' for one in rows]
    pairs = [one for one in found["measured"].get("pairs", []) if one["all_reduce"] is not None]
    if pairs:
        name = "ascend_cluster_pair_all_reduce_bytes_per_second"
        lines += [f"# HELP {name} As two nodes were measured, the slowest of their NPUs.", f"# TYPE {name} gauge"]
        lines += [f'{name}{{node="{_label(one["nodes"][0])}",other="{_label(one["nodes"][1])}"}} {one["all_reduce"] * 1e9:g}' for one in pairs]
    return "\n".join(lines) + "\n"


# Metric to figure; units as they are called there.
_FIGURES = {"ascend_cluster_npu_tflops": "tflops", "ascend_cluster_npu_matmul_seconds": "matmul_seconds",
            "ascend_cluster_npu_memory_gb_per_second": "memory_gb_per_second", "ascend_cluster_npu_host_gb_per_second": "host_gb_per_second"}


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def usual(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tell for each attribute what most of the nodes that answered have."""
    answered = [data for data in found["nodes"].values() if data["answered"]]
    told = {key: Counter(data[key] for data in answered if data[key] != "") for key in ATTRIBUTES}
    return {key: values.most_common(1)[0][0] if values else "" for key, values in told.items()}


_STYLE = ("body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:3px 7px;text-align:left;"
          "vertical-align:top}.failure{background:#f8d0d0}.warning{background:#fbeec0}.odd{background:#fbeec0}caption{text-align:left;font-weight:bold;white-space:nowrap}")


def as_html(found: Mapping[str, Any]) -> str:
    """Write one page that needs nothing else: the findings, nodes by checks, and nodes by attributes with who differs."""
    text = html.escape
    parts = [f"<!doctype html><meta charset=utf-8><title>Checks of the cluster</title><style>{_STYLE}{_deep_page.STYLE}</style>",
             f"<h1>{text(found['status'])}: {len(found['nodes'])} nodes, {found['checks']} checks, tier {found['tier']}</h1>"
             f"<p>{text(found['time'])}{' - ' + text(found['not_begun']) if found['not_begun'] else ''}</p>"]
    if found["errors"]:
        parts.append("<ul class=failure>" + "".join(f"<li>{text(error)}" for error in found["errors"]) + "</ul>")
    if found["findings"]:
        rows = "".join(f"<tr class={item['severity']}><td>{text(item['node'])}<td>{item['severity']}<td>{text(item['cause'])}<td>{text(item['found'])}"
                       f"<td>{text(item['expected'])}<td>{text(item['remedy'])}" for item in found["findings"])
        parts.append(f"<table><caption>Findings</caption><tr><th>node<th>severity<th>what is wrong<th>found<th>expected<th>the way out{rows}</table>")
        checks = list(dict.fromkeys(item["check"] for item in found["findings"]))
        worst = {(item["node"], item["check"]): item["severity"] for item in found["findings"]}
        head = "".join(f"<th>{check}" for check in checks)
        rows = "".join(f"<tr><th>{text(node)}" + "".join(f"<td class={worst.get((node, check), 'clean')}>{worst.get((node, check), '')}" for check in checks)
                       for node in found["nodes"] if any((node, check) in worst for check in checks))
        parts.append(f"<table><caption>Nodes by checks (nodes without a finding are left out)</caption><tr><th>node{head}{rows}</table>")
    if found["unknown"]:
        parts.append("<p><b>Not looked at</b><ul>" + "".join(f"<li>{text(one)}" for one in found["unknown"]) + "</ul>")
    parts.append(_deep_page.page(found["measured"]))
    most = usual(found)
    head = "".join(f"<th>{name}" for name in ATTRIBUTES)
    rows = f"<tr><th>most have{''.join(f'<th>{text(str(most[key]))}' for key in ATTRIBUTES)}"
    for node, data in found["nodes"].items():
        cells = "".join(f"<td class={'odd' if data[key] not in ('', most[key]) else 'same'}>{text(str(data[key]))}" for key in ATTRIBUTES)
        rows += f"<tr><th>{text(node)}" + (cells if data["answered"] else f"<td class=failure colspan={len(ATTRIBUTES)}>gave no answer")
    parts.append(f"<table><caption>Nodes by attributes</caption><tr><th>node{head}{rows}</table>")
    return "\n".join(parts) + "\n"


FORMS = {"json": as_json, "prom": as_prometheus, "html": as_html}
