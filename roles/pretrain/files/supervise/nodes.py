"""What the nodes last said, and when. Each report costs the same, however many nodes there are."""
from __future__ import annotations

import collections
import heapq
import re
from typing import Any, Iterable, Mapping, Sequence

# Phases of a node. UNHEARD: since the hub's start.
UNHEARD, PREPARING, READY, UNABLE, RUNNING, EXITED, STOPPING, STOPPED = (
    "unheard", "preparing", "ready", "unable", "running", "exited", "stopping", "stopped")
PHASES = (PREPARING, READY, UNABLE, RUNNING, EXITED, STOPPING, STOPPED)
#: nothing of a job lives there
AT_REST = (PREPARING, READY, UNABLE, EXITED, STOPPED)
SHOWN = 10
_SUFFERS = re.compile(r"distributed_c10d\.py|by (?:remote )?peer\b|Broken pipe|\bEI00(?:02|06)\b|error code is 6\b|\btime[sd]? ?out\b")

#: keys of a report with their types; None is allowed for all but the first three
KEYS: Mapping[str, Any] = {
    "generation": int, "phase": str, "seen": int, "epoch": str, "rc": int, "failed": dict, "leaving": str, "iteration": int, "lines": list,
    "saved": int, "whole": list, "lacking": dict, "free": int, "started": dict, "stacks": dict, "reason": str}


def suffers(reason: str) -> bool:
    """Whether these are the words of one that only lost its peers: raised in a collective, or a connection that another one's end closed."""
    return bool(_SUFFERS.search(reason))


def checked(report: Any) -> dict[str, Any]:
    """A report as it may be read on.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(report, dict) or report.get("phase") not in PHASES or not {"generation", "seen"} <= set(report):
        raise ValueError("no report")
    for name, value in report.items():
        if name not in KEYS or not (isinstance(value, KEYS[name]) or (value is None and name not in ("generation", "phase", "seen"))):
            raise ValueError(f"no report: {name} is {value!r}")
    return {**dict.fromkeys(KEYS), **report}


class Nodes:
    """All nodes of a run.

    Attributes:
        heard: when each was heard, the longest silent first.
        deadlines: of nodes whose connection closed: until when they may come back.
        incarnations: which life of its supervisor each node reported from.
    """

    def __init__(self, names: Sequence[str], now: float) -> None:
        self.names = tuple(names)
        self.reports: dict[str, dict[str, Any]] = {}
        # Nobody is silent for longer than there is somebody to hear it.
        self.heard: collections.OrderedDict[str, float] = collections.OrderedDict((name, now) for name in names)
        self.deadlines: dict[str, float] = {}
        self.incarnations: dict[str, str] = {}
        self._counts: collections.Counter[tuple[int, str]] = collections.Counter()
        self._whole: dict[str, frozenset[int] | None] = {}
        #: how many nodes have a say in which are whole, and of an iteration how many have it so
        self._asked = len(names)
        self._having: collections.Counter[int] = collections.Counter()

    def take(self, name: str, incarnation: str, report: dict[str, Any], now: float) -> dict[str, Any]:
        """Keep a report; returns the one before, {} at first and from another life."""
        old = self.reports.get(name, {})
        if old:
            self._counts[old["generation"], old["phase"]] -= 1
        if self.incarnations.get(name) != incarnation:
            self.incarnations[name] = incarnation
            old = {}
        self.reports[name] = report
        self._counts[report["generation"], report["phase"]] += 1
        self.excuse(name, now)
        whole = None if report["whole"] is None else frozenset(report["whole"])
        before = self._whole.get(name, frozenset())
        self._whole[name] = whole
        if before != whole:
            self._asked += (whole is not None) - (before is not None)
            self._having.update((whole or frozenset()) - (before or frozenset()))
            for iteration in (before or frozenset()) - (whole or frozenset()):
                self._having[iteration] -= 1
                if not self._having[iteration]:
                    del self._having[iteration]
        return old

    def count(self, generation: int, phase: str) -> int:
        """How many nodes are in a phase of a generation."""
        return self._counts[generation, phase]

    def phase(self, name: str) -> str:
        """The phase of a node."""
        return str(self.reports[name]["phase"]) if name in self.reports else UNHEARD

    def lost(self, now: float, limit: float) -> str:
        """The name of a node that was silent for too long, or whose connection is closed for too long; "" for none."""
        for name, deadline in self.deadlines.items():
            if now > deadline:
                return name
        name = next(iter(self.heard))
        return name if now - self.heard[name] > limit else ""

    def excuse(self, name: str, now: float) -> None:
        """Take a node for heard."""
        self.deadlines.pop(name, None)
        self.heard[name] = now
        self.heard.move_to_end(name)

    def unaware(self, epoch: str, version: int, unheard: bool) -> list[str]:
        """Those that have not heard how it stands and do not leave by themselves; with `unheard` also those that nothing was heard of."""
        return [name for name in (self.names if unheard else self.reports)
                if not self.aware(name, epoch, version) and not self.reports.get(name, {}).get("leaving")]

    def aware(self, name: str, epoch: str, version: int) -> bool:
        """Whether a node has said that it has heard this view."""
        report = self.reports.get(name)
        return bool(report and report["epoch"] == epoch and report["seen"] >= version)

    def silent(self, now: float, limit: float) -> list[str]:
        """Those that were not heard for so long, or whose connection is closed; the longest silent first."""
        found = dict.fromkeys(self.deadlines)
        for name, heard in self.heard.items():
            if now - heard <= limit:
                break
            found[name] = None
        return list(found)

    def blamed(self, name: str, now: float, limit: float, beat: float) -> tuple[str, str]:
        """Who is to be named for a node that is lost, and the words: nobody, where most others went with it. That may be the master's own link."""
        silent, others, master = self.silent(now, limit - 2 * beat), len(self.names) - 1, self.names[0]
        if others < 2 or 2 * len(silent) <= others:
            return name, self.lost_words(name, limit)
        return "", (f"{len(silent)} of the {others} nodes beside {master}, where the supervisors meet, are not heard for {limit:g} s (times.lost): "
                    f"the link of {master}, or what joins it with {self.join(silent)}")

    def is_lost(self, name: str, now: float, limit: float) -> bool:
        """Whether this one is."""
        return now - self.heard[name] > limit or now > self.deadlines.get(name, now)

    def state(self, name: str, now: float, limit: float) -> str:
        """Phase of a node in words, or that it is silent; and why it leaves, where it said so."""
        if name not in self.reports:
            return "never heard"
        leaves = self.reports[name]["leaving"]
        return ("silent" if self.is_lost(name, now, limit) else self.phase(name)) + (f": {leaves}" if leaves else "")

    def lost_words(self, name: str, limit: float) -> str:
        """How a node was lost."""
        return "the connection of its supervisor closed, and it did not come back" if name in self.deadlines else f"not heard for {limit:g} s (times.lost)"

    def whole(self) -> frozenset[int]:
        """Iterations whose checkpoints are whole on all nodes; a node that needs no file of any has no say."""
        return frozenset(iteration for iteration, count in self._having.items() if count == self._asked)

    def lacking(self) -> dict[str, str]:
        """Why the newest checkpoint of any node is not whole on some others."""
        newest = max((max(one) for one in self._whole.values() if one), default=0)
        named = max((int(number) for report in self.reports.values() for number in report["lacking"] or {} if number.isdigit()), default=0)
        wanted = max(newest, named)
        found: dict[str, str] = {}
        for name in self.names:
            one = self._whole.get(name, frozenset())
            if wanted and one is not None and wanted not in one and len(found) < SHOWN:
                why = (self.reports.get(name, {}).get("lacking") or {}).get(str(wanted), "it was not heard" if name not in self.reports else "there is none")
                found[name] = f"iteration {wanted}: {why}"
        return found

    def phases(self) -> dict[str, int]:
        """How many nodes are in each phase."""
        found = collections.Counter(report["phase"] for report in self.reports.values())
        if len(self.reports) < len(self.names):
            found[UNHEARD] = len(self.names) - len(self.reports)
        return dict(found)

    def told(self, name: str, now: float, limit: float) -> dict[str, Any]:
        """One node, for those who ask."""
        report = self.reports.get(name, {})
        failed = report.get("failed") or {}
        return {"name": name, "phase": self.phase(name), "generation": report.get("generation"), "silent": round(now - self.heard[name], 1),
                "lost": self.is_lost(name, now, limit), "iteration": report.get("iteration"), "rc": report.get("rc"), "rank": failed.get("rank"),
                "reason": failed.get("reason") or report.get("reason") or "", "checkpoint": max(report.get("whole") or [], default=None),
                "free": report.get("free")}

    def worst(self, now: float, limit: float, generation: int) -> list[str]:
        """The nodes to look at first: lost, failed, unable, not in this generation, least common phase, longest silent."""
        phases = self.phases()

        def order(name: str) -> tuple[Any, ...]:
            report = self.reports.get(name, {})
            failed = report.get("failed") or (self.phase(name) == EXITED and report.get("rc"))
            return (not self.is_lost(name, now, limit), not failed, self.phase(name) != UNABLE,
                    report.get("generation") == generation, phases[self.phase(name)], self.heard[name])

        return heapq.nsmallest(SHOWN, self.names, key=order)

    def join(self, names: Iterable[str]) -> str:
        """Names in a sentence."""
        listed = list(names)
        return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
