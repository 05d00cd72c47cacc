"""Reading Megatron-LM's training log, and whether it shows a training that came to a good end.

Source of the format: megatron/training/training.py, training_log() at 9de386d0. The launch script runs this file by itself, with the
environment's Python (3.8 or newer)::

    python training_log.py LOG LAST_ITERATION LOG_INTERVAL FIRST_ITERATION

It prints ``cause: words`` and ends with status 1 where :func:`problem` finds one.
"""
from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

_ITERATION = re.compile(r"iteration\s+(\d+)/\s*(\d+) \|(.*)")
_FIELD = re.compile(r"\s*([^|:]+):\s*([^|]+?)\s*\|")


@dataclass(frozen=True)
class Iteration:
    """One logged iteration, or the mean of those since the line before."""

    iteration: int
    train_iters: int
    #: lm loss (nats per token); None when Megatron printed none (every iteration since the last line was skipped, or the loss is nan)
    lm_loss: float | None
    grad_norm: float | None
    #: time of this iteration in ms
    elapsed_ms: float | None
    #: iterations since the last line whose step was not taken (an overflow)
    skipped: int = 0
    #: iterations since the last line whose loss was nan
    nan: int = 0


def iterations(lines: Iterable[str]) -> Iterator[Iteration]:
    """Every iteration that the lines log, in order; all other lines are passed over."""
    for line in lines:
        match = _ITERATION.search(line)
        if not match:
            continue
        fields = {name.strip(): value for name, value in _FIELD.findall(match.group(3))}

        def number(name: str, fields: dict[str, str] = fields) -> float | None:
            try:
                return float(fields[name])
            except (KeyError, ValueError):
                return None

        yield Iteration(int(match.group(1)), int(match.group(2)), number("lm loss"), number("grad norm"),
                        number("elapsed time per iteration (ms)"), int(number("number of skipped iterations") or 0),
                        int(number("number of nan iterations") or 0))


def problem(seen: Sequence[Iteration], last: int, interval: int, first: int = 0) -> tuple[str, str] | None:
    """What speaks against a good end, as the key of a cause and words; None when nothing does.

    Args:
        seen: the iterations logged by this start of the training, in order.
        last: the last iteration that is to be logged.
        interval: iterations from one line to the next (``--log-interval``).
        first: the iteration that was loaded, 0 for a training from its beginning; negative when not known.
    """
    # A log of several writers need not keep their order.
    seen = sorted(seen, key=lambda item: item.iteration)
    if not seen or seen[-1].iteration != last:
        return "exit_early", f"the last iteration logged is {seen[-1].iteration if seen else 'none'} of {last}"
    end = seen[-1]
    if end.skipped >= interval:
        return "skipped_iterations", f"iterations were skipped to the end: {end.skipped} of the last {interval}, up to iteration {end.iteration}"
    place = next((place for place in range(len(seen)) if all(map(_lost, seen[place:]))), len(seen) - 1)
    # Of lines that are not known nothing is said.
    since = f" (bad since iteration {seen[place].iteration})" if place or first >= 0 else ""
    if end.lm_loss is None or not math.isfinite(end.lm_loss):
        shown = "missing" if end.lm_loss is None else str(end.lm_loss)
        return "nan_loss", f"the loss of the last iteration logged, {end.iteration}, is {shown}{since}"
    if end.grad_norm is None or not math.isfinite(end.grad_norm):
        shown = "missing" if end.grad_norm is None else str(end.grad_norm)
        return "nan_grad", f"the grad norm of the last iteration logged, {end.iteration}, is {shown}{since}"
    if end.nan >= interval:
        return "nan_loss", f"the loss was nan in the last {end.nan} iterations, up to {end.iteration}"
    start = first if first >= 0 else seen[0].iteration - interval
    wanted = last // interval - start // interval
    found = len({item.iteration for item in seen})
    if found < wanted:
        return "exit_early", f"only {found} of {wanted} iterations were logged between {start} and {last}"
    return None


def _lost(item: Iteration) -> bool:
    return any(value is None or not math.isfinite(value) for value in (item.lm_loss, item.grad_norm))


def main(words: Sequence[str]) -> int:
    """Entry of the launch script."""
    path, last, interval, first = words[0], int(words[1]), int(words[2]), int(words[3])
    with open(path, encoding="utf-8", errors="replace") as file:
        found = problem(list(iterations(file)), last, interval, first)
    if found:
        print(f"{found[0]}: {found[1]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
