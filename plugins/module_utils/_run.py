"""What became of a run, what to do next, and how it ended: decisions over all nodes. Runs on the controller."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import _training_log, _verdict_words
from ._fault_patterns import CAUSES
from ._verdict_words import names as _names

#: how the launch script words a training that left with status 0 and is none
STATUS_0 = "torchrun exited 0, but"


def launch_decision(states: Mapping[str, Mapping[str, Any]], run_id: str, new_run: bool) -> dict[str, str]:
    """Decide what to do about a run.

    Args:
        states: of every node, as module training_state returns them for `run_id`, the master first.
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
        # A node may have succeeded while another still saves its last shard. One that has the run and does not run it (rebooted, say) is waited for, or
        # ended by its name, by the supervisors that meet at the master's: who follows is told.
        meets = next(iter(states)) in active
        dead = [name for name in idle if states[name]["current_run"] != run_id or not (meets or states[name]["result"].get("status") == "succeeded")]
        if dead:
            return {"action": "refuse", "message":
                    f"Run {run_id} is half dead: it runs on {_names(active)} but not on {_names(dead)}. "
                    "Its supervisors wait for a node that is being rebooted, or end the run by themselves: see playbooks/status_training.yml. "
                    "Or stop it everywhere with `ansible-playbook playbooks/stop.yml`, then run this again."}
        if new_run:
            return {"action": "refuse", "message":
                    f"pretrain_new_run is true, but run {run_id} is in progress on {_names(active)}. "
                    "Stop it with `ansible-playbook playbooks/stop.yml` first, or leave pretrain_new_run out to follow it."}
        away = [name for name in idle if states[name]["result"].get("status") != "succeeded"]
        return {"action": "follow", "message": f"Run {run_id} is in progress: following it."
                + (f" It does not run on {_names(away)}: the others wait for that, or end the run." if away else "")}
    ended = {name: str(state["result"].get("status", "")) for name, state in states.items()}
    if not new_run and all(status == "succeeded" for status in ended.values()):
        when = max(str(state["result"].get("finished", "")) for state in states.values())
        return {"action": "finished", "message":
                f"Run {run_id} finished successfully at {when}: nothing is launched. "
                "To train again with the same inputs, pass -e pretrain_new_run=true."}
    before = sorted({status for status in ended.values() if status})
    return {"action": "launch", "message":
            f"Launching run {run_id} on {len(states)} nodes" + (f" (earlier: {', '.join(before)})." if before else ".")}


def training_verdict(outcomes: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Any], addresses: Mapping[str, str],
                     order: Sequence[str] = ()) -> dict[str, Any]:
    """Judge a run by what every node shows of it.

    Args:
        outcomes: of every node in the order of ranks: ``outcome`` (succeeded, failed, stopped, unreachable, or lost: not heard by the supervisors),
            ``reason``, ``log``, ``ended_at`` (seconds since 1970 by its clock, 0: not known), ``clock`` (bounds of its clock less the controller's),
            ``evidence`` (module training_evidence), ``iterations`` (that it logged) and ``rank`` (that failed there by the supervisors' word, or None).
        expected: ``last_iteration`` (the last that is to be logged), ``log_interval``, ``first_iteration`` (that was loaded, or 0;
            negative when not known) and ``nproc_per_node``.
        addresses: name of each node to its address on the cluster's network.
        order: nodes as the supervisors heard of their failures, by one clock: it decides where words and clocks do not.

    Returns:
        ``succeeded``, ``message``, ``culprit`` (the node on which it began, or "" where that cannot be told), ``nodes`` (all on which it may have
        begun), ``ranks`` (the global ranks that began it, [] when not known), ``cause`` (a key of the table in _fault_patterns.py, "" after a
        success) and ``losses`` (list of [iteration, lm loss]).
    """
    seen = [_training_log.Iteration(**item) for outcome in outcomes.values() for item in outcome.get("iterations") or []]
    losses = [[item.iteration, item.lm_loss] for item in seen]
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.get("outcome") != "succeeded"}
    problem = _training_log.problem(seen, int(expected["last_iteration"]), int(expected["log_interval"]), int(expected["first_iteration"]))
    # The launch script of the last node finds the same, and its node counts as failed.
    to_the_end = problem is not None and problem[0] != "exit_early" and all(
        outcome["outcome"] == "stopped" or str(outcome.get("reason")).startswith(STATUS_0) for outcome in bad.values())
    if bad and not to_the_end:
        found = _verdict_words.failure(outcomes, int(expected["nproc_per_node"]), addresses, order)
        others = [name for name in outcomes if name != found["culprit"]]
        stopped = [name for name in others if outcomes[name].get("outcome") == "stopped"]
        unreachable = [name for name, outcome in bad.items() if outcome["outcome"] == "unreachable"]
        lines = [found["message"]]
        if others:
            lines.append(f"Stopped: {_names(stopped)}." if stopped else "The other nodes had ended by themselves.")
        if unreachable:
            lines.append(f"Could not be reached, so a training may still run there: {_names(unreachable)}. "
                         "Run playbooks/stop.yml when they answer again.")
        return {**found, "succeeded": False, "losses": losses, "message": "\n".join(lines)}
    if problem:
        cause = CAUSES[problem[0]]
        # It has the whole log.
        script = next((str(outcome["reason"]) for outcome in bad.values() if str(outcome.get("reason")).startswith(STATUS_0)), "")
        words = script[len(STATUS_0):].strip() or problem[1]
        return {"succeeded": False, "culprit": "", "nodes": [], "ranks": [], "cause": problem[0], "losses": losses, "message":
                f"The training ended on all nodes with status 0 and is no success: {words}; {cause.words}.\nWhat to do: {cause.remedy}"}
    return {"succeeded": True, "culprit": "", "nodes": [], "ranks": [], "cause": "", "losses": losses,
            "message": success(seen[-1].train_iters, len(outcomes), losses, [item.elapsed_ms for item in seen])}


def success(iterations: Any, nodes: Any, losses: Sequence[Sequence[Any]], times: Sequence[float | None]) -> str:
    """Words for a good end.

    Args:
        iterations: of the whole training.
        nodes: how many.
        losses: [iteration, lm loss], the first and the last of them count.
        times: of iterations, in ms.
    """
    known = sorted(one for one in times if one is not None)
    seconds = f", {known[len(known) // 2] / 1000:.2f} s per iteration (median)" if known else ""
    curve = f"; lm loss {losses[0][1]} at iteration {losses[0][0]}, {losses[-1][1]} at {losses[-1][0]}" if losses else ""
    return f"Trained {iterations} iterations on {nodes} nodes{curve}{seconds}. Checkpoint shards written on every node that owns any."
