"""What became of a run, what to do next, and how it ended: decisions over all nodes."""
from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import _training_log

#: as many names as a message lists before it only counts
_LISTED = 8


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def launch_decision(states: Mapping[str, Mapping[str, Any]], run_id: str, new_run: bool) -> dict[str, str]:
    """Decide what to do about a run.

    Args:
        states: of every node, as module training_state returns them for `run_id`.
        run_id: the run that is asked for.
        new_run: repeat it even though it finished.

    Returns:
        ``action`` (launch, follow, finished or refuse) and ``message``.
    """
    active = [name for name, state in states.items() if state["active"]]
    idle = [name for name in states if name not in active]
    if active:
        other = sorted({str(states[name]["current_run"]) for name in active} - {run_id})
        if other:
            return {"action": "refuse", "message":
                    f"Another run is in progress: {', '.join(other)} on {_names(active)}; this one would be {run_id}. "
                    "Wait for its end, or stop it with `ansible-playbook playbooks/stop.yml`, then run this again."}
        if idle:
            return {"action": "refuse", "message":
                    f"Run {run_id} is half dead: it runs on {_names(active)} but not on {_names(idle)}. "
                    "Stop it everywhere with `ansible-playbook playbooks/stop.yml`, then run this again."}
        if new_run:
            return {"action": "refuse", "message":
                    f"pretrain_new_run is true, but run {run_id} is in progress on {_names(active)}. "
                    "Stop it with `ansible-playbook playbooks/stop.yml` first, or leave pretrain_new_run out to follow it."}
        return {"action": "follow", "message": f"Run {run_id} is in progress: following it."}
    ended = {name: str(state["result"].get("status", "")) for name, state in states.items()}
    if not new_run and all(status == "succeeded" for status in ended.values()):
        when = max(str(state["result"].get("finished", "")) for state in states.values())
        return {"action": "finished", "message":
                f"Run {run_id} finished successfully at {when}: nothing is launched. "
                "To train again with the same inputs, pass -e pretrain_new_run=true."}
    before = sorted({status for status in ended.values() if status})
    return {"action": "launch", "message":
            f"Launching run {run_id} on {len(states)} nodes" + (f" (earlier: {', '.join(before)})." if before else ".")}


def training_verdict(outcomes: Mapping[str, Mapping[str, Any]], train_iters: int) -> dict[str, Any]:
    """Judge a run by what every node's follower saw.

    Args:
        outcomes: of every node in the order of ranks, as action follow_training returns them.
        train_iters: the last iteration.

    Returns:
        ``succeeded``, ``message``, ``culprit`` (the node whose failure came first, or "") and
        ``losses`` (list of [iteration, lm loss]).
    """
    losses = [[item["iteration"], item["lm_loss"]] for outcome in outcomes.values()
              for item in outcome.get("iterations", [])]
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.get("outcome") != "succeeded"}
    if not bad:
        times = [item["elapsed_ms"] for outcome in outcomes.values() for item in outcome.get("iterations", [])
                 if item["elapsed_ms"] is not None]
        seconds = f", {sorted(times)[len(times) // 2] / 1000:.2f} s per iteration (median)" if times else ""
        loss = f"lm loss {losses[0][1]} at iteration {losses[0][0]}, {losses[-1][1]} at {losses[-1][0]}" if losses else ""
        return {"succeeded": True, "culprit": "", "losses": losses, "message":
                f"Trained {train_iters} iterations on {len(outcomes)} nodes; {loss}{seconds}. "
                "Checkpoint shards written on every node that owns any."}
    # The first cause: a node that failed by itself, rather than for having lost another or been stopped.
    failed = [name for name, outcome in bad.items() if outcome["outcome"] != "stopped"]

    def order(name: str) -> tuple[bool, float]:
        outcome = outcomes[name]
        return (_training_log.lost_a_peer(outcome.get("log_tail", ""))
                and not _own_error(outcome.get("log_tail", "")), float(outcome.get("ended_at") or 0))

    culprit = min(failed or list(bad), key=order)
    outcome = outcomes[culprit]
    others = [name for name in outcomes if name != culprit]
    also = [name for name in failed if name != culprit]
    lines = [f"The training failed on {culprit} (node rank {list(outcomes).index(culprit)}): "
             f"{outcome.get('reason') or outcome['outcome']}"]
    lines += [f"  {line}" for line in _training_log.error_lines(outcome.get("log_tail", ""))]
    if also:
        lines.append(f"Failed after it, or for losing it: {_names(also)}.")
    if others:
        stopped = [name for name in others if outcomes[name].get("outcome") == "stopped"]
        lines.append(f"Stopped: {_names(stopped)}." if stopped else "The other nodes had ended by themselves.")
    unreachable = [name for name in bad if outcomes[name]["outcome"] == "unreachable"]
    if unreachable:
        lines.append(f"Could not be reached, so a training may still run there: {_names(unreachable)}. "
                     "Run playbooks/stop.yml when they answer again.")
    lines.append(f"Last lines of {outcome.get('log', 'the log')} on {culprit}:")
    lines += [f"  {line}" for line in outcome.get("log_tail", "").splitlines()[-30:]]
    return {"succeeded": False, "culprit": culprit, "losses": losses, "message": "\n".join(lines)}


def _own_error(text: str) -> bool:
    """Whether some error line of the log is not about a lost peer."""
    return any(not _training_log.lost_a_peer(line) and "ChildFailedError" not in line
               for line in _training_log.error_lines(text, most=50))
