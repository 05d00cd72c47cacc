"""The live display of a run: figures (`Follower.figures`) in words, and as `rich` draws them. Runs on the controller."""
from __future__ import annotations

from typing import Any, Mapping

from ._follow import duration

#: seconds without a new answer after which that is said
_OLD = 30.0


def words(figures: Mapping[str, Any], now: float) -> list[str]:
    """Two lines: the run, and its training. Times go on between two answers."""
    since_asked = max(0.0, now - float(figures.get("at") or now))
    state, restarts = figures.get("state"), figures.get("restarts") or 0
    age = duration(float(figures.get("since") or 0) + since_asked)
    first = [f"run {figures.get('run')}", f"{state} for {age}", f"{figures.get('nodes')} nodes"]
    first += [f"restarts {restarts}"] if restarts or figures.get("max_restarts") else []
    first += ["saving a checkpoint"] if figures.get("saving") else []
    first.append(f"asking {figures.get('asked')}" + (f", no answer for {duration(since_asked)}" if since_asked > _OLD else ""))
    second = [f"iteration {figures.get('iteration')}/{figures.get('total')}"]
    for name, form in (("loss", "loss {:.4f}"), ("grad_norm", "grad norm {:.3f}"), ("ms", "{:.0f} ms"), ("tokens", "{:,.0f} tokens/s"),
                       ("tokens_npu", "{:,.0f} per NPU")):
        if figures.get(name) is not None:
            second.append(form.format(figures[name]))
    if figures.get("left") is not None and state == "running":
        second.append(f"{duration(max(0.0, float(figures['left']) - since_asked))} left")
    return [" · ".join(first), " · ".join(second)]


def renderable(figures: Mapping[str, Any], now: float) -> Any:
    """For rich: the words below a bar."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = ProgressBar(total=float(figures.get("total") or 1), completed=float(figures.get("iteration") or 0), width=60)
    # A cell ends the bar's line.
    row = Table.grid()
    row.add_row(bar)
    return Group(row, *(Text(line) for line in words(figures, now)))
