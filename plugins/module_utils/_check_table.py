"""What the checks found, drawn by rich as plain lines for a terminal."""
from __future__ import annotations

import io
from collections import Counter
from typing import Any, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# More nodes than this are told by number alone: the page has them all.
_NODES = 64


def lines(found: Mapping[str, Any], width: int) -> list[str]:
    """Draw a result: a row a node with what was found and, where that was measured, its figures."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(_nodes(found))
    if found["measured"]:
        console.print(Text(f"Measured with {'; '.join(found['measured']['tools']) or 'nothing'}, in {found['measured']['seconds']:.0f} s. "
                           "Of a node's NPUs the slowest counts, of its pairs the best; bandwidths are those of the bus."))
    if found["unknown"]:
        console.print(Text(f"Not looked at: {'; '.join(found['unknown'])}."))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def _nodes(found: Mapping[str, Any]) -> Table:
    counts = Counter((item["node"], item["severity"]) for item in found["findings"])
    checks = {node: list(dict.fromkeys(item["check"] for item in found["findings"] if item["node"] == node)) for node in found["nodes"]}
    table = Table(box=box.ASCII2, title=f"{found['status']}: {len(found['nodes'])} nodes, {found['checks']} checks, tier {found['tier']}", title_justify="left")
    table.add_column("node", no_wrap=True)
    for name in ("failures", "warnings"):
        table.add_column(name, justify="right", no_wrap=True)
    figures = _figures(found["measured"])
    heads = list(dict.fromkeys(head for row in figures.values() for head in row))
    for head in heads:
        table.add_column(head, justify="right")
    table.add_column("what", ratio=1, overflow="fold")
    # Those with findings first: they are what is looked for.
    listed = sorted(found["nodes"], key=lambda node: (-counts[node, "failure"], -counts[node, "warning"]))
    for node in listed[:_NODES]:
        row = figures.get(node, {})
        table.add_row(Text(node), *(str(counts[node, kind] or "-") for kind in ("failure", "warning")), *(row.get(head, "-") for head in heads),
                      Text(", ".join(checks[node]) or ("clean" if found["nodes"][node]["answered"] else "no answer")))
    if len(listed) > _NODES:
        table.add_row(Text(f"… {len(listed) - _NODES} more"))
    return table


def _figures(measured: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By node, figures by heading: of its NPUs the slowest counts, of its pairs the best."""
    found: dict[str, dict[str, str]] = {}
    for heading, figure in (("TFLOPS", "tflops"), ("memory\nGB/s", "memory_gb_per_second"), ("host\nGB/s", "host_gb_per_second")):
        of_nodes: dict[str, list[float]] = {}
        for one in measured.get("npus", []):
            of_nodes.setdefault(one["node"], []).append(one[figure])
        for node, values in of_nodes.items():
            found.setdefault(node, {})[heading] = f"{min(values):.3g}"
    for one in measured.get("nodes", []):
        if one["all_reduce"] is not None:
            found.setdefault(one["node"], {})["within\nGB/s"] = f"{one['all_reduce']:.3g}"
    best: dict[str, float] = {}
    for pair in measured.get("pairs", []):
        for node in pair["nodes"] if pair["all_reduce"] is not None else []:
            best[node] = max(best.get(node, 0.0), pair["all_reduce"])
    for node, value in best.items():
        found.setdefault(node, {})["between\nGB/s"] = f"{value:.3g}"
    return found
