"""What is told of a run while it is followed: plain lines, and the figures of the live display. Runs on the controller; no I/O.

A status is what `supervise ask status` answers; docs/run.md describes it.
"""
from __future__ import annotations

import statistics
from typing import Any, Mapping, NamedTuple

#: lines whose times tell how long what is left will take
_RECENT = 20
#: seconds for which the hub may be unheard before that is said
STALE = 30.0


class Words(NamedTuple):
    """Something to say; ``kind`` is iteration, state or warning."""

    kind: str
    text: str


def iteration_words(name: str, line: Mapping[str, Any], total: Any) -> str:
    """One line of the log, in one line."""
    loss = "MISSING" if line.get("loss") is None else f"{line['loss']:.6f}"
    norm = "" if line.get("grad_norm") is None else f" | grad norm {line['grad_norm']:.3f}"
    seconds = "" if line.get("ms") is None else f" | {line['ms'] / 1000:.2f} s"
    skipped = f" | {line['skipped']} skipped" if line.get("skipped") else ""
    return f"{name}: iteration {line['iteration']:>5}/{total} | lm loss {loss}{norm}{seconds}{skipped}"


def duration(seconds: float) -> str:
    """1:02:03, 2:03; days before that."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    clock = f"{hours}:{minutes:02}:{rest % 60:02}" if hours or days else f"{minutes}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def restarted_from(training: Mapping[str, Any]) -> str:
    """Where a generation began."""
    loaded = training.get("loaded")
    return "" if loaded is None else f" from iteration {loaded}" if loaded else " from its beginning: there was no whole checkpoint"


class Follower:
    """Takes one status after the other, of whichever node, and tells what is new.

    Attributes:
        after: number of the last line that was told, to ask for those after it.
        known: what the next question need not wait for.
        behind: whether there are more lines than were sent.
        seen: [iteration, loss, ms] of the lines, the newest 1,000.
    """

    def __init__(self, log_node: str, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self.log_node = log_node
        self.after, self.behind = int(kept.get("after", 0)), False
        self.known: dict[str, Any] = dict(kept.get("known", {}))
        self.seen: list[list[Any]] = [list(one) for one in kept.get("seen", [])]
        self._shown: tuple[int, int] = (int(kept.get("shown", [-1, 0])[0]), int(kept.get("shown", [-1, 0])[1]))
        self._warned: list[str] = [str(one) for one in kept.get("warned", [])]
        self._stale = bool(kept.get("stale"))
        #: the last generation whose end was told, and with which cause
        self._ended: list[Any] = list(kept.get("ended", [-1, ""]))

    def kept(self) -> dict[str, Any]:
        """What another follower goes on from."""
        return {"after": self.after, "known": self.known, "seen": self.seen, "shown": list(self._shown), "warned": self._warned, "stale": self._stale,
                "ended": self._ended}

    def take(self, status: Mapping[str, Any]) -> list[Words]:
        """What a status tells that was not told yet."""
        news = {name: status.get(name) for name in ("epoch", "state", "generation")}
        said: list[Words] = []
        anew = bool(self.known) and news["epoch"] != self.known.get("epoch")
        if (news["state"], news["generation"]) != (self.known.get("state"), self.known.get("generation")) and news["state"] != "done":
            said += [Words("state", text) for text in self._state(status)]
            self._ended = [int(status.get("generation") or 0) - (news["state"] not in ("stopping", "dumping")), str(status.get("cause") or "")]
        if anew and news["state"] != "done":
            # The hub counts its lines from 1 again: these are not those that were asked for.
            self.after, self.behind = 0, True
        else:
            said += self._lines(status)
        if news["state"] == "done" and self.known.get("state") != "done":
            said.append(Words("state", f"Run {status.get('run')}: {status.get('verdict')}"))
        self.known = news
        said += [Words("warning", text) for text in status.get("warnings") or [] if text not in self._warned]
        self._warned += [text for text in status.get("warnings") or [] if text not in self._warned]
        return said + self._of_the_hub(status)

    def _lines(self, status: Mapping[str, Any]) -> list[Words]:
        training, lines = status.get("training") or {}, status.get("lines") or []
        self.behind = len(lines) >= 500
        if lines:
            self.after = int(lines[-1]["n"])
        if not self.behind and training.get("iteration"):
            # Who answers in the hub's place knows the newest line alone.
            lines = [*lines, {**training, "generation": status.get("generation", 0)}]
        said = []
        for line in lines:
            place = (int(line.get("generation") or 0), int(line["iteration"]))
            if place > self._shown:
                self._shown = place
                self.seen = [*self.seen, [line["iteration"], line.get("loss"), line.get("ms")]][-1000:]
                said.append(Words("iteration", iteration_words(self.log_node, line, line.get("total") or training.get("total"))))
        return said

    def _state(self, status: Mapping[str, Any]) -> list[str]:
        run, count = f"Run {status.get('run')}", (status.get("nodes") or {}).get("count")
        state, cause, generation = status.get("state"), status.get("cause"), status.get("generation") or 0
        if state == "forming":
            ready = ((status.get("nodes") or {}).get("phases") or {}).get("ready", 0)
            why = f", after: {cause}" if cause and generation else ""
            return [f"{run}: {'starts again' if generation else 'starts'} (generation {generation}{why}); {ready} of {count} nodes are ready"]
        if state == "running":
            times = f", {status['restarts']} restart{'' if status['restarts'] == 1 else 's'} so far" if status.get("restarts") else ""
            # Between two questions it may have stopped and begun again, or another one be known to have begun it.
            why = f", after: {cause}" if cause and [generation - 1, cause] != self._ended else ""
            return [f"{run}: runs on {count} nodes{restarted_from(status.get('training') or {})} (generation {generation}{times}{why})"]
        if state == "dumping":
            return [f"{run}: does not get on: {cause}; the stacks of all ranks are written"]
        return [f"{run}: is being stopped: {cause}"] if state == "stopping" else [f"{run}: {state}"]

    def _of_the_hub(self, status: Mapping[str, Any]) -> list[Words]:
        stale = not status.get("hub") and status.get("age") is not None and float(status["age"]) > STALE
        said = [Words("warning", f"{status.get('from')} answers in place of the master's supervisor, which it has not heard for {status['age']:.0f} s")] \
            if stale and not self._stale else []
        self._stale = stale
        return said

    def figures(self, status: Mapping[str, Any], asked: str, now: float) -> dict[str, Any]:
        """What the live display shows: times in seconds, by the controller's clock."""
        training = status.get("training") or {}
        times = [one[2] for one in self.seen[-_RECENT:] if one[2]]
        seconds = statistics.median(times) / 1000 if times else None
        total, iteration = training.get("total"), training.get("iteration") or 0
        names = ("run", "state", "since", "generation", "restarts", "max_restarts")
        return {**{name: status.get(name) for name in names}, "nodes": (status.get("nodes") or {}).get("count"), "iteration": iteration, "total": total,
                "loss": training.get("loss"), "grad_norm": training.get("grad_norm"), "ms": training.get("ms"), "saving": training.get("saving"),
                **speed(training), "left": seconds * (total - iteration) if seconds and total else None, "asked": asked, "at": now}


def speed(training: Mapping[str, Any]) -> dict[str, float | None]:
    """``tokens``: per second, by the newest line of the log; ``tokens_npu``: the same of each NPU."""
    ms, tokens, ranks = training.get("ms"), training.get("tokens_per_iteration"), training.get("ranks")
    rate = float(tokens) / float(ms) * 1000 if tokens and ms else None
    return {"tokens": rate, "tokens_npu": rate / int(ranks) if rate is not None and ranks else None}
