"""The plot of docs/bench.md."""
from __future__ import annotations

from pathlib import Path
from typing import Sequence

from bench.report import Timing, Way

OURS, THEIRS = "#0b6e4f", "#9aa5b1"


def draw(path: Path, baselines: Sequence[Way], scaling: dict[int, Timing], what: str, tokens: int) -> None:
    """Draw seconds by way, and tokens a second over the number of workers.

    Args:
        path: .svg or .png file to write.
        baselines: the ways that ours is compared with.
        scaling: our times by number of workers.
        what: each way encoded.
        tokens: ids that each way wrote.
    """
    import matplotlib

    matplotlib.use("svg")
    # The same input gives the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    bars = [(way.name, way.timing, THEIRS) for way in baselines]
    bars += [(f"this project, {_workers(count)}", timing, OURS) for count, timing in scaling.items()]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.4, 2.2 + 0.18 * len(bars)), width_ratios=[1.25, 1], layout="constrained")

    medians = [timing.median for _, timing, _ in bars]
    spread = [[timing.median - min(timing.seconds) for _, timing, _ in bars], [max(timing.seconds) - timing.median for _, timing, _ in bars]]
    left.barh(range(len(bars)), medians, color=[colour for *_, colour in bars], xerr=spread, error_kw={"lw": 0.9, "capsize": 2})
    left.set_yticks(range(len(bars)), [name for name, *_ in bars])
    left.invert_yaxis()
    left.set_xlim(0, 1.18 * max(max(timing.seconds) for _, timing, _ in bars))
    left.set_xlabel(f"seconds for {what} (median, min to max)")
    for place, (_, timing, _) in enumerate(bars):
        left.text(max(timing.seconds), place, f"  {timing.median:.1f}", va="center")

    counts = list(scaling)
    speeds = [tokens / scaling[count].median / 1e6 for count in counts]
    right.plot(counts, speeds, color=OURS, marker="o", label="this project")
    for way, style in zip(baselines, ("--", ":")):
        right.axhline(tokens / way.timing.median / 1e6, color="#52606d", linestyle=style, linewidth=1.1, label=way.name.splitlines()[0])
    right.set_xscale("log", base=2)
    right.set_xticks(counts, [str(count) for count in counts])
    right.minorticks_off()
    right.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
    right.set_ylim(0, 1.15 * max(speeds))
    right.set_xlabel("workers of this project")
    right.set_ylabel("million tokens/s")
    right.grid(axis="y", color="#e4e7eb")
    right.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.02, 1), ncols=3, handlelength=1.6, columnspacing=1)
    figure.savefig(path, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"
