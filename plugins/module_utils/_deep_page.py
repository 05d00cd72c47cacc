"""What was measured, as parts of the HTML page of the checks: a table of NPUs, a coloured matrix of nodes, and curves over time."""
from __future__ import annotations

import html
import statistics
from typing import Any, Mapping, Sequence

STYLE = (".figures td{text-align:right}.figures td.name{text-align:left}td.cell{text-align:right;font-variant-numeric:tabular-nums}td.none{background:#eee}"
         "svg{display:block;margin:1em 0}.legend{color:#555}")
_HEADS = (("matmul_seconds", "product, ms"), ("tflops", "TFLOPS"), ("memory_gb_per_second", "memory, GB/s"), ("host_gb_per_second", "from the host, GB/s"),
          ("node_all_reduce", "all_reduce in the node, GB/s"), ("node_all_to_all", "all_to_all in the node, GB/s"),
          ("all_all_reduce", "all_reduce of all, GB/s"), ("all_all_to_all", "all_to_all of all, GB/s"))
_SERIES = (("tflops", "TFLOPS"), ("memory_gb_per_second", "memory, GB/s"), ("host_gb_per_second", "from the host, GB/s"),
           ("all_reduce", "all_reduce of all, GB/s"), ("all_to_all", "all_to_all of all, GB/s"))
# As many names as can be read side by side; more are drawn without.
_NAMED = 40


def colour(value: float, usual: float, more_is_better: bool = True) -> str:
    """From red at half of the usual (or twice, where less is better) over yellow to green at the usual."""
    if not usual or not value:
        return "#f8d0d0"
    ratio = value / usual if more_is_better else usual / value
    share = min(max((ratio - 0.5) / 0.5, 0.0), 1.0)
    return f"hsl({round(120 * share)},60%,{round(82 + 8 * share)}%)"


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def page(measured: Mapping[str, Any]) -> str:
    """All parts."""
    if not measured:
        return ""
    tools = html.escape("; ".join(measured["tools"]) or "nothing")
    parts = [f"<p>Measured with {tools}, in {measured['seconds']:.0f} s. Bandwidths are those of the bus; of several NPUs the slowest counts. "
             "Colours: green the median or better, red half of it or less.</p>"]
    for collective in ("all_reduce", "all_to_all"):
        parts.append(_matrix(measured, collective))
    return "\n".join([*parts, _npus(measured["npus"]), *_curves(measured["series"])])


def _npus(npus: Sequence[Mapping[str, Any]]) -> str:
    heads = [(key, head) for key, head in _HEADS if any(key in one for one in npus)]
    usual = {key: statistics.median_high(one[key] for one in npus if key in one) for key, _ in heads}
    rows = ""
    for one in npus:
        rows += f"<tr><td class=name>{html.escape(str(one['node']))}<td>{html.escape(one['name'].removeprefix('NPU '))}"
        for key, _ in heads:
            if key in one:
                scale = 1000 if key == "matmul_seconds" else 1
                rows += f"<td style='background:{colour(one[key], usual[key], key != 'matmul_seconds')}'>{_figure(one[key] * scale)}"
            else:
                rows += "<td class=none>"
    names = "".join(f"<th>{head}" for _, head in heads)
    return f"<table class=figures><caption>NPUs</caption><tr><th>node<th>NPU{names}{rows}</table>" if npus else ""


def _matrix(measured: Mapping[str, Any], collective: str) -> str:
    """Nodes by nodes; on the diagonal a node's own NPUs."""
    found: dict[tuple[str, str], float | None] = {}
    for one in measured["pairs"]:
        for node, other in (one["nodes"], one["nodes"][::-1]):
            found[node, other] = one[collective]
    nodes = [one["node"] for one in measured["nodes"]]
    own = {one["node"]: one[collective] for one in measured["nodes"]}
    values = [value for value in found.values() if value is not None]
    if not nodes or not (values or any(value is not None for value in own.values())):
        return ""
    usual = statistics.median_high(values) if values else 0.0
    inner = [value for value in own.values() if value is not None]
    usual_own = statistics.median_high(inner) if inner else 0.0
    named = len(nodes) <= _NAMED
    head = "".join(f"<th>{html.escape(node)}" for node in nodes) if named else ""
    rows = ""
    for node in nodes:
        rows += f"<tr><th>{html.escape(node)}" if named else "<tr>"
        for other in nodes:
            value = own[node] if node == other else found.get((node, other))
            title = html.escape(f"{node} with {other}" if node != other else f"in {node}", quote=True)
            if value is not None:
                text = _figure(value) if named else ""
                back = colour(value, usual_own if node == other else usual)
                rows += f"<td class=cell title='{title}: {_figure(value)} GB/s' style='background:{back}'>{text}"
            elif node != other and (node, other) in found:
                rows += f"<td class='cell failure' title='{title}'>fails"
            else:
                rows += f"<td class='cell none' title='{title}: not measured'>"
    corner = "<th>" if named else ""
    return (f"<table class=matrix><caption>{collective} between nodes, GB/s (on the diagonal between the NPUs of one)</caption>"
            f"<tr>{corner}{head}{rows}</table>")


def _curves(series: Sequence[Mapping[str, Any]]) -> list[str]:
    """A picture a figure, a line an NPU."""
    return [_curve(series, key, head) for key, head in _SERIES if series and all(key in one for one in series)]


def _curve(series: Sequence[Mapping[str, Any]], key: str, head: str) -> str:
    width, height, left, bottom = 640, 180, 60, 24
    most = max(max(one[key]) for one in series) or 1.0
    last = max(one["seconds"][-1] for one in series) or 1.0
    lines = ""
    for number, one in enumerate(series):
        points = " ".join(f"{left + at / last * (width - left - 10):.1f},{height - bottom - value / most * (height - bottom - 10):.1f}"
                          for at, value in zip(one["seconds"], one[key]))
        hue = round(360 * number / len(series))
        lines += (f"<polyline points='{points}' fill='none' stroke='hsl({hue},60%,45%)' stroke-width='1.5'>"
                  f"<title>{html.escape(one['node'])} {html.escape(one['name'])}</title></polyline>")
    axis = (f"<path d='M{left} 5V{height - bottom}H{width - 5}' stroke='#888' fill='none'/>"
            f"<text x='{left - 6}' y='14' text-anchor='end'>{_figure(most)}</text>"
            f"<text x='{left - 6}' y='{height - bottom}' text-anchor='end'>0</text>"
            f"<text x='{width - 5}' y='{height - 6}' text-anchor='end'>{last / 60:.3g} min</text>")
    return (f"<p class=legend><b>{head}</b>, a line for each NPU</p><svg width='{width}' height='{height}' viewBox='0 0 {width} {height}' "
            f"font-size='11' font-family='sans-serif'>{axis}{lines}</svg>")
