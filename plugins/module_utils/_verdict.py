"""Why a training failed: the evidence of all nodes weighed against each other. Runs on the controller.

Who began it is told by two things: what its words are (a rank with a cause of its own began it; one that lost a peer did not), and when
(by each node's clock, less its offset). Where neither tells, that is said: nobody is named on a guess.
"""
from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

from . import _evidence
from ._fault_patterns import CAUSES

_ANY_TIME = (float("-inf"), float("inf"))


@dataclass
class Suspect:
    """A rank or a node that may have begun it."""

    node: str
    node_rank: int
    #: global rank; None where the node is all that is known
    rank: int | None
    cause: str
    #: 3 clear words of its own, 2 an exception or a signal, 1 it failed and nothing else is known
    strength: float
    #: earliest and latest moment by the controller's clock
    at: tuple[float, float] = _ANY_TIME
    #: the line that says it, or what is known in its place
    line: str = ""
    context: Sequence[str] = field(default_factory=tuple)
    file: str = ""
    code: str = ""
    #: what else this rank said that belongs to it
    also: Sequence[str] = field(default_factory=tuple)
    #: whether it is known to have ended by itself: torchrun lists it, or the hook recorded its end
    ended: bool = False
    #: whether it is known to have lived on until it was ended from outside: what it said did not end it
    lived: bool = False

    def after(self, other: Suspect) -> bool:
        """Whether it was certainly later."""
        return self.at[0] > other.at[1]


def clear_strength(cause: str) -> float:
    """Strength of words that name a cause; a vendor's code may lay the fault on its rank without naming one."""
    return float(CAUSES[cause].strength) if cause != "unknown" else 2.0


def _moment(at: Any, outcome: Mapping[str, Any]) -> tuple[float, float]:
    """A moment of a node's clock by the controller's; unknown ones lie before the node's end."""
    clock = outcome.get("clock") or {}
    low, high = float(clock.get("low", 0.0)), float(clock.get("high", 0.0))
    if at:
        return float(at[0]) - high, float(at[1]) - low
    ended = float(outcome.get("ended_at") or 0)
    # systemd tells whole seconds.
    return (float("-inf"), ended + 1.0 - low) if ended else _ANY_TIME


def _of_rank(node: str, node_rank: int, rank: int, known: Mapping[str, Any], outcome: Mapping[str, Any], listed: bool,
             loose: Sequence[Mapping[str, Any]]) -> Suspect | None:
    """The suspect that one rank is by its log, its record and its exit code; None when it only suffered.

    listed: whether torchrun's summary of this node tells which ranks failed.
    loose: words of the node's ranks that may be this one's.
    """
    words, lost_loosely = bool(loose), any(item["role"] in ("cascade", "pointer") for item in loose)
    record, ended, findings = known.get("record"), known.get("exit"), known.get("findings") or []
    # Where the supervisors know which rank of this node failed, the others were ended by them.
    lived = not (record or ended) and rank != outcome.get("rank") and (listed or outcome.get("outcome") == "stopped" or outcome.get("rank") is not None)
    suffered = False
    own: Suspect | None = None

    def suspect(cause: str, strength: float, at: Any, item: Mapping[str, Any]) -> Suspect:
        when = at or (record or {}).get("at") or (ended or {}).get("at")
        line = str(item.get("line", ""))
        also = [other["line"] for other in findings if other["role"] in ("cause", "confirmation") and other["line"] not in (line, *(item.get("context") or ()))]
        return Suspect(node, node_rank, rank, cause, strength, _moment(when, outcome), line, item.get("context") or (),
                       str(item.get("file", "")), str(item.get("code", "")), also[:3], bool(record or ended), lived)

    lost = any(item["role"] in ("cascade", "pointer") for item in findings)

    for item in findings:
        if item["role"] in ("cascade", "pointer"):
            suffered = True
        elif item["role"] == "cause" and not item["generic"]:
            # What comes after the loss of a peer may be its consequence: an abort always is.
            if suffered and item["cause"] == "killed":
                continue
            strength = clear_strength(item["cause"])
            if suffered:
                strength = strength - 0.5 if item["code"] else min(strength, 1.5)
            # Words in passing, of a rank that ended by the loss of a peer, or lived.
            if _in_passing(item) and (lost or lived):
                strength = min(strength, 1.5)
            if own is None or strength > own.strength:
                own = suspect(item["cause"], strength, item["at"], item)
    if ended and ended["code"] == -signal.SIGKILL and not record:
        # No exception of its own ended it, whatever was caught and printed before.
        return None if suffered else suspect("killed", 2.0, ended["at"], {"line": _signalled(ended)})
    if own is not None and own.strength >= 2:
        return own
    if record and record["kind"] == "exception":
        text = f"{record['type']}: {record['message']}"
        meanings = [found for found in map(_evidence.meaning, text.splitlines()) if found is not None]
        if any(found.role in ("cascade", "pointer") for found in meanings):
            return own
        if record["type"] in ("KeyboardInterrupt", "SignalException") or any(found.role == "noise" for found in meanings[:1]):
            return own
        context = generic[-1]["context"] if (generic := [item for item in findings if item["generic"]]) else []
        clear = next((found.cause for found in meanings if found.role == "cause" and found.cause != "python_exception"), "") or _evidence.place_of(
            [*context, record["where"]]) or "python_exception"
        if clear == "collective_timeout":
            return own
        shown = {"line": text.splitlines()[0], "file": record["file"], "context": context or ([record["where"]] if record["where"] else [])}
        return suspect(clear, clear_strength(clear), record["at"], shown)
    if ended and ended["code"] == -signal.SIGABRT and words:
        # The watchdog aborts whoever lost a peer, and the words of that may be among those whose rank is not told.
        return own
    if ended and ended["code"] < 0 and ended["code"] != -signal.SIGTERM and not suffered:
        # Words of the node's ranks of which no log tells whose they are: an abort after the loss of a peer looks the same.
        return suspect("killed", 1.5 if lost_loosely else 2.0, ended["at"], {"line": _signalled(ended)})
    generic = [item for item in findings if item["role"] == "cause" and item["generic"]]
    if generic and _evidence.place_of(generic[-1]["context"]) == "collective_timeout":
        suffered = True
    if generic and not suffered:
        strength = 2.0 if ended and not words else 0.5 if listed or outcome.get("outcome") == "stopped" else 1.5
        return suspect(_evidence.place_of(generic[-1]["context"]) or generic[-1]["cause"], strength, generic[-1]["at"], generic[-1])
    if record and record["kind"] == "exit" and not suffered:
        early = record["status"] in (0, None)
        # A rank that is stopped may leave by sys.exit too.
        return suspect("exit_early" if early else "python_exception", 1.0 if outcome.get("outcome") == "stopped" else 1.5, record["at"],
                       {"line": f"left by sys.exit({record['status']}) in {record['where'] or 'an unknown place'}", "file": record["file"]})
    if ended and own is None and not suffered and not words:
        # torchrun ends the others by SIGTERM, but does not list them: one that it lists was ended from elsewhere.
        how = "ended by signal 15 (SIGTERM)" if ended["code"] == -signal.SIGTERM else f"ended with status {ended['code']}, without a word of why"
        return suspect("killed" if ended["code"] == -signal.SIGTERM else "unknown", 1.0, ended["at"], {"line": how})
    return own


def _in_passing(item: Mapping[str, Any]) -> bool:
    """Whether the line is neither an exception's nor holds a vendor's code: a program that goes on prints such words too."""
    return not item["code"] and not _evidence.is_exception(item["line"])


def _signalled(ended: Mapping[str, Any]) -> str:
    return f"ended by signal {-ended['code']} ({_signal_name(-ended['code'])}), pid {ended['pid']}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def of_node(node: str, node_rank: int, outcome: Mapping[str, Any]) -> list[Suspect]:
    """All suspects on a node."""
    evidence = outcome.get("evidence") or {}
    known = evidence.get("ranks") or {}
    listed = any(item.get("exit") for item in known.values())
    loose = evidence.get("node") or []
    found = [one for rank, item in known.items() if (one := _of_rank(node, node_rank, int(rank), item, outcome, listed, loose)) is not None]
    failed = {int(rank): item["exit"] for rank, item in known.items() if item.get("exit") and item["exit"]["code"] != -signal.SIGTERM}
    suffered = any(item["role"] in ("cascade", "pointer") for one in [*known.values(), {"findings": loose}] for item in one["findings"])
    # An exception that makes nobody suspect is the loss of a peer too, in words that no row knows.
    suspected = {one.rank for one in found}
    suffered = suffered or any((item.get("record") or {}).get("kind") == "exception" or any(one["generic"] for one in item["findings"])
                               for rank, item in known.items() if int(rank) not in suspected)
    # Words whose rank is not told: of the only rank that failed, of all that failed where each said it once, else of the node.
    told = {one.line for one in found}
    for item in loose:
        if item["line"] in told:
            continue
        if item["role"] != "cause" or (item["generic"] and list(failed.values()) and all(one["code"] < 0 for one in failed.values())):
            continue
        if suffered and item["cause"] == "killed":
            continue
        strength = min(clear_strength(item["cause"]), 2.0 if item["generic"] else 3.0) - (0.5 if item["generic"] and suffered else 0.0)
        if suffered and _in_passing(item):
            strength = min(strength, 1.5)
        at = item["at"] or next((one["at"] for one in failed.values()), None)
        cause = (_evidence.place_of(item["context"]) if item["generic"] else "") or item["cause"]
        if cause == "collective_timeout":
            continue
        also = [other["line"] for other in loose if other["line"] != item["line"] and other["role"] in ("cause", "confirmation")][:3]
        for rank in list(failed) if item["count"] == len(failed) else [None]:
            found.append(Suspect(node, node_rank, rank, cause, strength, _moment(at, outcome), item["line"], item["context"], item["file"], item["code"],
                                 also, rank is not None, rank is None and outcome.get("outcome") == "stopped"))
    strong = [one for one in found if one.strength >= 1.5]
    journal = evidence.get("journal") or []
    killed = [one for one in found if one.cause == "killed"]
    reason, kind = str(outcome.get("reason") or ""), str(outcome.get("outcome"))
    ended = float(outcome.get("ended_at") or 0)
    around = [ended - 1.0, ended + 1.0] if ended else None

    def whole(cause: str, strength: float, line: str, rank: int | None = None) -> Suspect:
        return Suspect(node, node_rank, rank, cause, strength, _moment(around, outcome), line, (), str(outcome.get("log") or ""), ended=True)

    if kind in ("unreachable", "lost"):
        # One that was there when another had failed already was not lost first.
        return [*found, whole("machine_lost", 1.0 if reason.startswith("could not be stopped after") else 2.0, reason)]
    launcher = re.search(r"torchrun exited (1(?:37|34|39|35))\b", reason)
    # One that would not stop failed at that alone.
    if kind == "failed" and not reason.endswith("after a stop") and not [one for one in strong if one.cause != "killed"]:
        if launcher and not killed:
            number = int(launcher.group(1)) - 128
            found.append(whole("launcher_killed", 2.0, f"torchrun was ended by signal {number} ({_signal_name(number)})"))
        elif "without telling a result" in reason:
            found.append(whole("unit_killed", 1.5 if suffered else 2.0, reason))
        elif "torchrun exited 0, but" in reason and not suffered:
            found.append(whole("exit_early", 1.0, reason))
        elif "from outside" in reason:
            found.append(whole("stopped", 2.0, reason))
        elif not found and not suffered:
            found.append(whole("unknown", 1.2, reason, outcome.get("rank")))
    # The kernel says why a process was killed that could not say it itself.
    for one in found:
        for item in journal:
            if item["cause"] == "host_out_of_memory" and _explains(item["line"], one):
                one.cause, one.strength, one.line = "host_out_of_memory", 3.0, item["line"]
                break
    return found


def _explains(line: str, one: Suspect) -> bool:
    """Whether the kernel's line is about this one's end: other processes are killed too."""
    killed, pid = re.search(r"\bprocess (\d+)|\bpid=(\d+)", line), re.search(r"signal 9 .*, pid (\d+)$", one.line)
    if one.cause == "killed":
        return pid is not None and (killed is None or pid.group(1) in killed.groups())
    return one.cause in ("launcher_killed", "unit_killed")


def first_ones(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Those who may have begun it: the others are weaker or certainly came later. The likeliest is the first of them."""
    if not suspects:
        return []
    # The same words on every node, of ranks that did not end by themselves, are hardly what distinguishes one of them.
    nodes = {one.node for one in suspects}
    clear = [one for one in suspects if one.strength >= 2] or [one for one in suspects if one.strength >= 1] or list(suspects)
    if len({_plain(one) for one in clear}) > 1 and len(nodes) > 1:
        alike = {text for text in map(_plain, clear) if {one.node for one in clear if _plain(one) == text} == nodes}
        odd = [one for one in clear if _plain(one) not in alike or one.ended]
        clear = odd or clear
    # Who ended by itself began it rather than one that lived on after its words, unless these are the vendor's, which has NPUs that only hang.
    if any(not one.lived and one.strength >= 2 for one in clear):
        clear = [one for one in clear if not one.lived or one.code]
    first = [one for one in clear if not any(one.after(other) for other in clear)]
    best = max(one.strength for one in first)
    return sorted((one for one in first if one.strength == best),
                  key=lambda one: (one.at[0] if one.at[0] > float("-inf") else one.at[1], one.node_rank, one.rank if one.rank is not None else -1))


def heard_first(suspects: Sequence[Suspect], order: Sequence[str]) -> list[Suspect]:
    """Of suspects between whom words and clocks do not decide, those of the node whose failure the supervisors heard of first; all where they heard of none."""
    first = next((name for name in order if any(one.node == name for one in suspects)), "")
    return [one for one in suspects if one.node == first] or list(suspects)


def _plain(one: Suspect) -> str:
    return f"{one.cause} {re.sub(r'[0-9]+', '0', one.line)}"


def pointed_at(outcomes: Mapping[str, Mapping[str, Any]], addresses: Mapping[str, str], nproc_per_node: int) -> list[tuple[str, int | None]]:
    """(node, global rank) that those who lost a peer name by address and device, the most named first.

    A node that names others and is itself named by none is no candidate; addresses that belong to no node are passed over.
    """
    nodes = {address: name for name, address in addresses.items()}
    order = list(outcomes)
    votes: dict[tuple[str, int | None], int] = {}
    for name, outcome in outcomes.items():
        evidence = outcome.get("evidence") or {}
        for item in [*(evidence.get("node") or []), *[one for known in (evidence.get("ranks") or {}).values() for one in known["findings"]]]:
            if item["role"] == "pointer" and item["points"] and item["points"][0] in nodes:
                node, device = nodes[item["points"][0]], int(item["points"][1])
                rank = order.index(node) * nproc_per_node + device if "xception" in item["line"] and device < nproc_per_node else None
                if node != name:
                    votes[(node, rank)] = votes.get((node, rank), 0) + 1
    return sorted(votes, key=lambda one: -votes[one])
