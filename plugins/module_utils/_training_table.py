"""Plain tables of runs: how one stands on all nodes, and those that there are. Runs on the controller; no I/O."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from ._follow import duration, speed

#: rows of nodes that are shown; of more, the first ones and a line about the rest
SHOWN = 40
_REASON = 60


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns as wide as they need to be."""
    texts = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[place]) for row in texts) for place in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts]


def size(number: Any) -> str:
    """Bytes in GB; "-" where they are not known."""
    return "-" if number is None else f"{float(number) / 1e9:,.0f} GB"


def number(value: Any, form: str = "{}") -> str:
    """A number in words, "-" where there is none."""
    return "-" if value is None else form.format(value)


def order(node: Mapping[str, Any], generation: Any, common: str) -> tuple[Any, ...]:
    """Those to look at first: lost, failed, unable, of another generation, in another phase, the longest silent."""
    return (not node.get("lost"), not (node.get("rc") or node.get("rank") is not None), node.get("phase") != "unable", node.get("generation") == generation,
            node.get("phase") == common, -float(node.get("silent") or 0))


def training_table(status: Mapping[str, Any]) -> str:
    """How a run stands: totals, and a row for each node, the worst first."""
    training, nodes = status.get("training") or {}, status.get("nodes") or {}
    listed = list(nodes.get("all") or nodes.get("worst") or [])
    phases = nodes.get("phases") or {}
    common = max(phases, key=lambda name: int(phases[name])) if phases else ""
    lines = [*_of_the_run(status), *_of_the_training(training)]
    checkpoint = status.get("checkpoint") or {}
    lines.append(f"Checkpoint   {'iteration ' + str(checkpoint['newest']) if checkpoint.get('newest') else 'none'} is whole on all nodes"
                 + "".join(f"\n             {name}: {why}" for name, why in (checkpoint.get("lacking") or {}).items()))
    if status.get("skew"):
        lines.append(f"Start        {status['skew']['seconds']} s between the first and the last of the {status['skew']['of']}")
    lost = sum(1 for one in listed if one.get("lost"))
    lines.append(f"Nodes        {nodes.get('count')}: " + ", ".join(f"{count} {name}" for name, count in sorted(phases.items(), key=lambda one: -int(one[1])))
                 + (f"; {lost} not heard" if lost else ""))
    worst = sorted(listed, key=lambda node: order(node, status.get("generation"), common))
    lines += ["", *table(["node", "phase", "start", "silent", "iteration", "checkpoint", "free", "rc", "why"], [_row(one) for one in worst[:SHOWN]])]
    rest = worst[SHOWN:]
    if rest:
        frees = [float(one["free"]) for one in rest if one.get("free") is not None]
        silent = max(float(one.get("silent") or 0) for one in rest)
        lines.append(f"and {len(rest)} more, none of them worse than these: silent for at most {silent:.0f} s"
                     + (f", at least {size(min(frees))} free" if frees else ""))
    elif len(listed) < int(nodes.get("count") or 0):
        lines.append(f"{status.get('from')} knows no more of the others: the master's supervisor is not there.")
    lines += [f"Warning: {text}" for text in status.get("warnings") or []]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> list[str]:
    rank, reason = one.get("rank"), str(one.get("reason") or "")[:_REASON]
    return [str(one.get("name")), str(one.get("phase")), number(one.get("generation")),
            f"{float(one.get('silent') or 0):.0f} s{' LOST' if one.get('lost') else ''}", number(one.get("iteration")),
            number(one.get("checkpoint")), size(one.get("free")), number(one.get("rc")),
            (f"rank {rank}: " if rank is not None and f"rank {rank}" not in reason else "") + reason]


def _of_the_run(status: Mapping[str, Any]) -> list[str]:
    state, restarts = status.get("state"), status.get("restarts")
    told = f"{state} for {duration(float(status.get('since') or 0))}" if state != "done" else str(status.get("verdict"))
    lines = [f"Run          {status.get('run')}: {told}",
             f"Starts       generation {status.get('generation')}, {restarts} restart{'' if restarts == 1 else 's'}, "
             f"{status.get('strikes')} in a row without a new checkpoint (at most {status.get('max_restarts')})"]
    if status.get("age") is None:
        lines.append("             The supervisors have ended; this is how they left it.")
    elif not status.get("hub"):
        lines.append(f"             By {status.get('from')}: the master's supervisor was last heard {float(status['age']):.0f} s ago.")
    if status.get("cause") and state != "done":
        lines.append(f"Because      {status['cause']}")
    return lines


def _of_the_training(training: Mapping[str, Any]) -> list[str]:
    rate = speed(training)
    moved = "" if training.get("moved") is None else f", last news {training['moved']:.0f} s ago (a hang after {float(training.get('hang') or 0):.0f} s)"
    return [f"Iteration    {training.get('iteration') or 0} of {training.get('total')}{moved}{', saving' if training.get('saving') else ''}",
            f"Loss         {number(training.get('loss'), '{:.6f}')}, grad norm {number(training.get('grad_norm'), '{:.3f}')}",
            f"Speed        {number(training.get('ms'), '{:.0f}')} ms an iteration, {number(rate['tokens'], '{:,.0f}')} tokens/s, "
            f"{number(rate['tokens_npu'], '{:,.0f}')} per NPU"]


def training_list(runs: Sequence[Mapping[str, Any]], moment: float, node: str) -> str:
    """The runs as a node knows them, the newest first. Losses and failures are the master's and the last node's.

    Args:
        runs: as module training_runs returns them.
        moment: now, by that node's clock.
        node: its name.
    """
    if not runs:
        return f"There is no run on {node}: site.yml launches one."
    rows = []
    for one in sorted(runs, key=lambda run: -float(run.get("began") or 0)):
        over = one.get("state") in ("succeeded", "failed", "stopped", "unknown")
        culprit, ended = one.get("culprit") or {}, one.get("ended") or (None if over else moment)
        lasted = duration(float(ended) - float(one["began"])) if ended and one.get("began") else "-"
        # That of a start before is no news of one that has gone on since, or was stopped.
        said = culprit and one.get("state") != "succeeded" and (one.get("state") == "failed" or culprit.get("generation") == one.get("generation"))
        blamed = f"{culprit.get('node') or '?'}: {str(culprit.get('reason'))[:_REASON]}" if said else ""
        rows.append([("* " if one.get("current") else "  ") + str(one.get("run")), one.get("state"), f"{one.get('iteration') or 0}/{number(one.get('total'))}",
                     number(one.get("first_loss"), "{:.4f}"), number(one.get("loss"), "{:.4f}"), lasted, number(one.get("restarts")), blamed])
    return "\n".join([*table(["  run", "state", "iteration", "first loss", "last loss", "lasted", "restarts", "began with"], rows),
                      f"* the one that `current` names on {node}, whose files these are"])
