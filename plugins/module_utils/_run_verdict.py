"""How a run ended: what its supervisors say joined with the evidence of its nodes. Runs on the controller.

The evidence tells what happened; the order in which the hub heard of the failures, by its one clock, tells who was the first where the evidence is silent.
"""
from __future__ import annotations

import re
import signal
from typing import Any, Mapping, Sequence

from . import _run, _training_log, _verdict_words
from ._fault_patterns import CAUSES
from ._follow import duration

#: a rank that a signal ended before it could say a word (roles/pretrain/files/supervise/ranks.py)
_KILLED = re.compile(r"rank (\d+) \(pid (\d+)\) was killed by (?:(SIG\w+)|signal (\d+))")
#: the supervisor itself was lost, or its whole machine
_SILENT = re.compile(r"not heard\b|connection of its supervisor closed")
_ANEW = re.compile(r"supervisor.* was started anew")
_LEAVES = re.compile(r"its machine shuts down")
_BY_ITSELF = re.compile(r"script ended with status \d+$")


def order_of(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The failures of the last generation that failed, in the order in which the hub heard of them; its culprit is the first."""
    culprit = status.get("culprit") or {}
    if not culprit:
        return []
    same = [one for one in status.get("order") or [] if one.get("generation") == culprit.get("generation") and one != culprit]
    return [culprit, *same]


def outcome(name: str, entry: Mapping[str, Any] | None, first: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """How one node ended, as _run.training_verdict takes it.

    Args:
        name: of the node.
        entry: of the hub's order, None where the hub heard of no failure there.
        first: the hub's culprit.
        answer: of module training_evidence; with ``error`` where the node was not reached.
    """
    said, lost = answer.get("result") or {}, bool(answer.get("error"))
    found: dict[str, Any] = {"log": answer.get("log", ""), "ended_at": 0.0, "clock": answer.get("clock") or {}, "evidence": answer.get("evidence") or {},
                             "iterations": [], "rank": (entry or {}).get("rank")}
    if entry is None:
        if said.get("status") == "succeeded":
            return {**found, "outcome": "succeeded", "reason": said.get("reason", "")}
        if said.get("status") == "failed":
            return {**found, "outcome": "failed", "reason": said.get("reason", "")}
        where = f"stopped after the failure of {first['node']}" if first.get("node") else "stopped"
        return {**found, "outcome": "stopped", "reason": f"{where}: {first.get('reason')}"}
    reason = str(entry.get("reason") or "")
    if _SILENT.search(reason) or _ANEW.search(reason):
        if lost or not _ANEW.search(reason):
            return {**found, "outcome": "unreachable" if lost else "lost", "reason": reason + (f"; {answer['error']}" if lost else "")}
        return {**found, "outcome": "failed", "reason": f"{reason}, without telling a result (killed, or the node was restarted?)"}
    killed = _KILLED.search(reason)
    if killed:
        found["evidence"] = _with_exit(found["evidence"], int(killed.group(1)), killed)
    if said.get("status") == "failed" and found["rank"] is None:
        reason = said.get("reason") or reason
    elif _BY_ITSELF.search(reason):
        reason += " without telling a result (killed?)"
    elif _LEAVES.search(reason):
        reason += " (from outside)"
    return {**found, "outcome": "failed", "reason": reason}


def _with_exit(evidence: Mapping[str, Any], rank: int, killed: re.Match[str]) -> dict[str, Any]:
    """Evidence with the end of a rank that torchrun's summary does not tell, as the supervisors ended torchrun before it looked."""
    number = int(killed.group(4)) if killed.group(4) else int(getattr(signal, killed.group(3), 0))
    ranks = dict(evidence.get("ranks") or {})
    known = ranks.get(str(rank)) or {"findings": [], "exit": None, "record": None}
    ranks[str(rank)] = {**known, "exit": known.get("exit") or {"code": -number, "pid": int(killed.group(2)), "at": None}}
    return {**evidence, "ranks": ranks}


def losses(status: Mapping[str, Any], seen: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """[iteration, lm loss] of the first line of the run and of the newest, and those between that were seen."""
    training = status.get("training") or {}
    first = training.get("first")
    found = [[item[0], item[1]] for item in seen]
    if first and (not found or found[0][0] != first["iteration"]):
        found.insert(0, [first["iteration"], first["loss"]])
    if training.get("iteration") and (not found or found[-1][0] != training["iteration"]):
        found.append([training["iteration"], training.get("loss")])
    return found


def run_verdict(status: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Any], addresses: Mapping[str, str],
                seen: Sequence[Sequence[Any]] = ()) -> dict[str, Any]:
    """Judge a run.

    Args:
        status: the last answer of its supervisors.
        answers: of module training_evidence on every node, in the order of ranks; {} after a success or a stop.
        expected: ``log_interval`` and ``nproc_per_node``.
        addresses: name of each node to its address on the cluster's network, in the order of ranks.
        seen: [iteration, lm loss, ms] of the lines that were followed, the newest last.

    Returns:
        What _run.training_verdict returns, and of the run ``run``, ``end``, ``state``, ``code``, ``generation``, ``restarts``, ``iteration``, ``total``,
        ``checkpoint``, ``skew``, ``order`` and ``supervisors`` (their own sentence).
    """
    training = status.get("training") or {}
    about = {"run": status.get("run"), **{name: status.get(name) for name in ("state", "code", "generation", "restarts", "skew", "time")},
             # What tells this end from the run's others, for who has heard of it already.
             "end": f"{status.get('epoch')} {status.get('state')} {status.get('code')}",
             "iteration": training.get("iteration"), "total": training.get("total"), "checkpoint": (status.get("checkpoint") or {}).get("newest"),
             "order": order_of(status), "supervisors": status.get("verdict")}
    curve = losses(status, seen)
    if status.get("state") == "done" and status.get("code") == 0:
        return {**about, **_success(status, curve, expected, [one[2] for one in seen])}
    if status.get("state") == "done" and status.get("code") == 3:
        found = {"culprit": "", "nodes": [], "ranks": [], "cause": "stopped", "message": "\n".join(
            [f"The training was {status.get('verdict')}, at iteration {about['iteration'] or 0} of {about['total']}.",
             f"What to do: {CAUSES['stopped'].remedy}", *_of_restarts(status)])}
    else:
        found = _failure(status, answers, expected, addresses, curve)
    return {**about, **found, "succeeded": False, "losses": curve}


def _success(status: Mapping[str, Any], curve: list[list[Any]], expected: Mapping[str, Any], times: Sequence[float | None]) -> dict[str, Any]:
    training = status.get("training") or {}
    last = _line(training)
    found = {"culprit": "", "nodes": [], "ranks": [], "cause": "", "losses": curve}
    # The launch script has asked the whole log; this is the last line once more.
    problem = _training_log.problem([last], last.iteration, int(expected["log_interval"]), -1) if last.iteration else None
    if problem:
        cause = CAUSES[problem[0]]
        return {**found, "succeeded": False, "cause": problem[0], "message":
                f"The training ended on all nodes with status 0 and is no success: {problem[1]}; {cause.words}.\nWhat to do: {cause.remedy}"}
    words = _run.success(training.get("total"), (status.get("nodes") or {}).get("count"), curve, list(times) or [training.get("ms")])
    return {**found, "succeeded": True, "message": "\n".join([words, *_of_restarts(status)])}


def _line(training: Mapping[str, Any]) -> _training_log.Iteration:
    return _training_log.Iteration(int(training.get("iteration") or 0), int(training.get("total") or 0), training.get("loss"), training.get("grad_norm"),
                                   training.get("ms"), int(training.get("skipped") or 0), int(training.get("nan") or 0))


def _of_restarts(status: Mapping[str, Any]) -> list[str]:
    """How it began and how often, where that is worth a line."""
    skew, restarts = status.get("skew"), int(status.get("restarts") or 0)
    lines = [f"The first and the last {skew['of'][:-1]} began within {duration(skew['seconds']) if skew['seconds'] >= 60 else str(skew['seconds']) + ' s'} "
             f"of each other ({skew['first']}, {skew['last']})."] if skew else []
    last = (status.get("culprit") or {}).get("words")
    if restarts:
        lines.append(f"It was started again {restarts} time{'' if restarts == 1 else 's'}" + (f"; the last failure: {last}." if last else "."))
    elif last and status.get("code") == 3:
        lines.append(f"Before the stop it had failed: {last}.")
    return lines


def _failure(status: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Any], addresses: Mapping[str, str],
             curve: list[list[Any]]) -> dict[str, Any]:
    order = order_of(status)
    done = status.get("state") == "done"
    if status.get("state") == "forming":
        # Nothing of this start ran: what the logs tell is of one before, which it had begun again from.
        answers = {name: {**answer, "evidence": {}, "result": {}} for name, answer in answers.items()}
    if not done and addresses:
        # Nobody hears the hub any more; the others have stopped by themselves.
        master = next(iter(addresses))
        order = [{"node": master, "rank": None, "reason": f"not heard by any node: the supervisors meet there; the last state known is {status.get('state')}"}]
    if not order:
        return {"culprit": "", "nodes": [], "ranks": [], "cause": "unknown", "message": "\n".join(
            [f"The training did not begin: {status.get('verdict') or status.get('cause')}.", "Mend that, then run site.yml again."])}
    entries: dict[str, Mapping[str, Any]] = {}
    for one in order:
        entries.setdefault(str(one.get("node")), one)
    outcomes = {name: outcome(name, entries.get(name), order[0], answers.get(name) or {"error": "it was not asked"}) for name in addresses}
    last = _line(status.get("training") or {})
    if last.iteration and outcomes:
        outcomes[list(outcomes)[-1]]["iterations"] = [vars(last)]
    interval = int(expected["log_interval"])
    judged = _run.training_verdict(
        outcomes, {"last_iteration": last.train_iters // interval * interval, "log_interval": interval, "first_iteration": -1,
                   "nproc_per_node": expected["nproc_per_node"]}, addresses, [str(one.get("node")) for one in order])
    told = [f"The supervisors heard first of {order[0]['node'] or 'no node in particular'}: {order[0]['reason']}."]
    # What they say besides that failure: that none is left to try, or who did not come any more.
    verdict, failure = str(status.get("verdict") or "") if done else "", str(order[0].get("words"))
    more = verdict.removesuffix(f"; this was after: {failure}").removeprefix(failure).removeprefix(". ")
    if more:
        told.append(f"They ended the run: {more}.")
    silent = [name for name, answer in answers.items() if answer.get("error")]
    if silent:
        told.append(f"The logs of {_verdict_words.names(silent)} could not be read: {answers[silent[0]]['error']}")
    return {**judged, "message": "\n".join([judged["message"], *told, *_of_restarts(status)])}
