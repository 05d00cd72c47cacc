"""The states of a run, without I/O: all that happens comes in by `report`, `gone`, `stop` and `tick`, in the order of its arrival at the hub.

Invariants (tests/unit/test_supervise_coordinator.py): a generation starts when all nodes are ready in it; a higher one when nothing of the lower one
lives on a node that can be heard; a stop ends in DONE; at most `max_restarts` restarts in a row without a new checkpoint; one culprit a generation.
"""
from __future__ import annotations

import collections
from typing import Any, Callable, Mapping

from supervise import nodes as phases
from supervise.config import PORTS, Config
from supervise.nodes import Nodes
from supervise.pace import Pace

FORMING, RUNNING, DUMPING, STOPPING, DONE = "forming", "running", "dumping", "stopping", "done"
SUCCEEDED, FAILED, STOPPED = 0, 1, 3
#: seconds: a supervisor that closes its connection may come back; SIGKILL and the sweep after the grace; a longer gap is this process's own
BACK, SWEEP, GAP = 2.0, 30.0, 2.0
LONGEST_BACKOFF = 600.0
ORDER, LINES = 50, 1000


class Coordinator:
    """Decides. `version` changes with every view that the members have to see."""

    def __init__(self, config: Config, clock: Callable[[], float], epoch: str, kept: Mapping[str, Any]) -> None:
        self.config, self.times, self.epoch, self._clock = config, config.times, epoch, clock
        #: seconds that this process was frozen or starved: in all, and the longest time in a generation
        self.lag = self._frozen = 0.0
        self._looked = clock()
        now = self.began = self.since = self.now()
        self.nodes, self.pace = Nodes(config.nodes, now), Pace(config, now)
        self.version, self.phase, self.cause = 1, str(kept.get("phase", FORMING)), str(kept.get("cause", ""))
        self.code: int | None = kept.get("code")
        self.verdict = str(kept.get("verdict", ""))
        self.generation, self.restarts, self.strikes = int(kept.get("generation", 0)), int(kept.get("restarts", 0)), int(kept.get("strikes", 0))
        self.ran, self.best, self.rose = bool(kept.get("ran")), int(kept.get("best", 0)), bool(kept.get("rose"))
        self.load: int | None = kept.get("load")
        #: the newest iteration that lay there when a resumed run began: what is above the one that it began from, up to this, is of another course
        self.above = int(kept.get("above", 0))
        self.stop_asked = str(kept.get("stop_asked", ""))
        self.order: collections.deque[dict[str, Any]] = collections.deque(kept.get("order", []), ORDER)
        self.culprit: dict[str, Any] | None = kept.get("culprit")
        self.first: dict[str, Any] | None = kept.get("first")
        self.lines: collections.deque[dict[str, Any]] = collections.deque(maxlen=LINES)
        self.events: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.not_before = now
        self._stacks: dict[str, Any] = {}
        if self.phase in (RUNNING, DUMPING):
            self._fail(config.nodes[0], "the supervisor of the master was started anew", None, ends=True)

    def now(self) -> float:
        """The hub's clock, which stands still while this process is frozen or starved: nobody else is to blame for that."""
        now = self._clock()
        gap, self._looked = now - self._looked, now
        if gap > GAP:
            self.lag += gap
            self._frozen = max(self._frozen, gap)
            self.events.append({"event": "gap", "seconds": round(gap, 1), "at": round(now - self.lag - self.began, 3)})
        return now - self.lag

    # what everybody sees, and what is kept

    def view(self) -> dict[str, Any]:
        """What the members obey."""
        keep = sorted(self.whole())[-self.config.checkpoints.keep:] if self.config.checkpoints.keep else []
        return {"v": self.version, "epoch": self.epoch, "generation": self.generation, "phase": self.phase, "port": self.config.master_port
                + self.generation % PORTS, "load": self.load, "keep_from": keep[0] if keep and len(keep) == self.config.checkpoints.keep else 0,
                "save": self.saving_stop, "code": self.code, "verdict": self.verdict}

    def kept(self) -> dict[str, Any]:
        """What the next hub must know."""
        names = ("phase", "generation", "restarts", "strikes", "ran", "best", "rose", "load", "above", "stop_asked", "cause", "culprit", "first", "code",
                 "verdict")
        return {"version": 1, "run": self.config.run, **{name: getattr(self, name) for name in names}, "order": list(self.order)}

    @property
    def saving_stop(self) -> bool:
        """Whether the ranks are asked to save: not where one has failed, as the others would wait for it."""
        return bool(self.phase == STOPPING and self.stop_asked and self.config.stop_saves and (self.culprit or {}).get("generation") != self.generation)

    def whole(self) -> list[int]:
        """Checkpoints that are whole on all nodes, and of this run's course."""
        there, resume = self.nodes.whole(), self.config.resume
        return [one for one in there if not resume or one <= resume or (self.ran and one > self.above)]

    # what comes in

    def report(self, name: str, incarnation: str, report: dict[str, Any]) -> None:
        """A member's word (`nodes.checked`)."""
        now = self.now()
        before = self.nodes.incarnations.get(name, incarnation)
        old = self.nodes.take(name, incarnation, report, now)
        if before != incarnation and (self.phase in (RUNNING, DUMPING) or self._suffers()):
            self._fail(name, "its supervisor was started anew", None)
        newest = max(self.whole(), default=0)
        if newest > self.best:
            self.best, self.rose, self.strikes = newest, True, 0
            self._event("checkpoint", iteration=newest)
        if report["generation"] == self.generation:
            self._same_generation(name, old, report, now)
        elif report["generation"] > self.generation and self.phase == FORMING:
            # The disk with the number was lost: nothing of that generation may pass for this one's.
            self.generation, self.ran = report["generation"], True
            self._next(now, 0.0)

    def _same_generation(self, name: str, old: Mapping[str, Any], report: Mapping[str, Any], now: float) -> None:
        if self.phase == FORMING and report["phase"] in (phases.RUNNING, phases.EXITED, phases.STOPPING, phases.STOPPED):
            self.ran = True
            self._next(now, 0.0)  # it ran under a hub that kept nothing
            return
        if self.phase in (RUNNING, DUMPING, STOPPING):
            for line in self.pace.take(name, report, now):
                if line is self.pace.first:
                    self._event("trains", generation=self.generation, iteration=line["iteration"])
                self.first = self.first or {"iteration": line["iteration"], "loss": line["loss"]}
                self.lines.append({"n": self.lines[-1]["n"] + 1 if self.lines else 1, "generation": self.generation, **line})
        failed, leaves = report["failed"], report["leaving"]
        if failed and not old.get("failed"):
            self._fail(name, str(failed.get("reason", "failed")), failed.get("rank"))
        elif report["phase"] == phases.EXITED and report["rc"] and old.get("phase") != phases.EXITED:
            self._fail(name, report["reason"] or f"its script ended with status {report['rc']}", None)
        elif leaves and not old.get("leaving"):
            self._fail(name, leaves, None)
        elif self.phase == RUNNING and report["phase"] not in (phases.READY, phases.RUNNING, phases.EXITED):
            if self._frozen + 2 * self.times.beat >= self.times.orphan:
                # It did as it must: it could not hear this process.
                words = f"its supervisor did not get on for {self._frozen:.0f} s (frozen, or starved), and {name} stopped its script"
                self._fail(self.config.nodes[0], words, None)
            else:
                self._fail(name, report["reason"] or "it stopped its script by itself", None)
        if report["stacks"] is not None and self.phase == DUMPING:
            self._stacks[name] = report["stacks"]

    def gone(self, name: str, incarnation: str) -> None:
        """A member's connection closed: a crash is known at once, a machine that is off by its silence."""
        now = self.now()
        if self.nodes.incarnations.get(name) == incarnation:
            self.nodes.deadlines[name] = now + BACK

    def stop(self, why: str) -> None:
        """End the run, in whatever state it is; only the first wish counts."""
        self.now()
        if self.phase == DONE or self.stop_asked:
            return
        self.stop_asked = why
        self._event("stop", who=why)
        if self.phase == FORMING:
            self._end(STOPPED, self._stop_words())
        elif self.phase == DUMPING:
            # Those that hang save nothing. Who it is cannot be told by a part of the stacks.
            self._fail("", f"{self.cause}. A stop was asked for by {why} before all ranks had told where they stand", None, ends=True)
        elif self.phase != STOPPING:
            self._go(STOPPING, f"a stop was asked for by {why}")

    def tick(self) -> None:
        """Time goes by."""
        now = self.now()
        steps = {FORMING: self._forming, RUNNING: self._running, DUMPING: self._dumping, STOPPING: self._stopping}
        if self.phase in steps:
            steps[self.phase](now)

    # the states

    def _forming(self, now: float) -> None:
        names, generation = self.nodes.names, self.generation
        if self.nodes.count(generation, phases.UNABLE):
            unable = [name for name in names if self.nodes.phase(name) == phases.UNABLE and self.nodes.reports[name]["generation"] == generation]
            self._end(FAILED, self._after_failure("; ".join(f"{name} cannot start: {self.nodes.reports[name]['reason']}" for name in unable[:3])))
        elif now < self.not_before:
            return
        elif self.nodes.count(generation, phases.READY) == len(names) and not self.nodes.deadlines and not self.nodes.lost(now, self.times.lost):
            self._start(now)
        elif now - max(self.since, self.not_before) > self.times.form:
            missing = [name for name in names if self.nodes.phase(name) != phases.READY or self.nodes.reports[name]["generation"] != generation
                       or self.nodes.is_lost(name, now, self.times.lost)]
            states = ", ".join(f"{name} ({self.nodes.state(name, now, self.times.lost)})" for name in missing[:10])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            self._end(FAILED, self._after_failure(f"not ready within {self.times.form:g} s (times.form): {states}{more}"))

    def _start(self, now: float) -> None:
        self.load = None
        if self.config.resume and not self.ran:
            self.above = max(self.nodes.whole(), default=0)
        if self.ran or self.config.resume:
            self.load = max(self.whole(), default=0)
            if not self.load and (self.best or self.config.resume):
                where = "; ".join(f"{name}: {why}" for name, why in self.nodes.lacking().items())
                was = f"the checkpoint of iteration {self.best} was whole, and now none is" if self.best else "no checkpoint is whole"
                self._end(FAILED, self._after_failure(f"{was} on all nodes ({where or 'there is none'}). Nothing is started from the beginning by itself"))
                return
            # What lies there beyond it is damaged: the next whole one is new.
            self.best = self.load
            self._event("load", iteration=self.load, beginning=not self.load)
        self.restarts += self.ran
        self.ran, self.rose, self._frozen = True, False, 0.0
        self.pace.begin(now, self.load)
        self._stacks = {}
        self._go(RUNNING, self.cause)

    def _running(self, now: float) -> None:
        lost = self.nodes.lost(now, self.times.lost)
        ended = self.nodes.count(self.generation, phases.EXITED)
        if ended == len(self.nodes.names):
            self._end(SUCCEEDED, f"succeeded: all {ended} nodes ended with success"
                      + (f", iteration {self.pace.iteration}" if self.pace.iteration else ""))
        elif lost and self.nodes.phase(lost) == phases.EXITED:
            self.nodes.excuse(lost, now)  # done, and need not be heard
        elif lost:
            self._fail(*self.nodes.blamed(lost, now, self.times.lost, self.times.beat), None)
        elif ended and self.pace.ended(now) > self.times.tail:
            left = [name for name in self.nodes.names if self.nodes.phase(name) != phases.EXITED]
            self._fail(left[0], f"{ended} of {len(self.nodes.names)} nodes ended with success, and after {self.times.tail:g} s (times.tail) "
                                f"{self.nodes.join(left)} still {'runs' if len(left) == 1 else 'run'}: a hang at the exit", None)
        elif not ended and self.pace.hangs(now):
            self._go(DUMPING, self.pace.hangs(now))

    def _dumping(self, now: float) -> None:
        if now - self.since > self.times.dump or len(self._stacks) == len(self.nodes.names):
            rank, words = self.pace.accused(self._stacks)
            name = self.config.nodes[min(rank // self.config.nproc_per_node, len(self.config.nodes) - 1)] if rank is not None else ""
            self._fail(name, f"{self.cause}. {words}", rank, ends=True)

    def _stopping(self, now: float) -> None:
        lost = self.nodes.lost(now, self.times.lost) if self.saving_stop or self._suffers() else ""
        if lost and self._rests(lost):
            self.nodes.excuse(lost, now)
        elif lost:
            self._fail(lost, "not heard while the ranks save" if self.saving_stop else self.nodes.lost_words(lost, self.times.lost), None)
        limit = self.times.grace + SWEEP + (self.times.save if self.saving_stop else 0.0)
        left = [name for name in self.nodes.names if not self.nodes.is_lost(name, now, self.times.lost) and not self._rests(name)]
        if not left or now - self.since > limit:
            if left:
                self.warnings.append(f"generation {self.generation} may still live on {self.nodes.join(left)}: it did not end within {limit:g} s")
                self._event("left", nodes=left[:10])
            self._after_stop(now)

    def _rests(self, name: str) -> bool:
        """Nothing lives there, said by one that knows of the stop: it cannot be about to start."""
        return self.nodes.phase(name) in phases.AT_REST and self.nodes.aware(name, self.epoch, self.version)

    def _after_stop(self, now: float) -> None:
        self.strikes = 0 if self.rose else self.strikes + 1
        most = self.config.max_restarts
        if self.stop_asked:
            self._end(STOPPED, self._stop_words())
        elif self.config.train_iters and self.best >= self.config.train_iters:
            self._end(FAILED, f"{self.cause}. The checkpoint of the last iteration, {self.best}, is whole on all nodes: there is nothing to start again")
        elif not most:
            self._end(FAILED, self.cause)
        elif self.strikes > most:
            self._end(FAILED, f"{self.cause}. Gave up: {self.strikes} starts in a row brought no new checkpoint (pretrain_max_restarts is {most})")
        else:
            self._next(now, min(self.times.backoff * 2 ** self.strikes, LONGEST_BACKOFF))

    # the steps

    def _next(self, now: float, backoff: float) -> None:
        self.generation += 1
        self.not_before = now + backoff
        self._go(FORMING, self.cause)

    def _go(self, phase: str, cause: str) -> None:
        self.phase, self.cause, self.since, self.version = phase, cause, self.now(), self.version + 1
        self._event(phase, generation=self.generation, cause=cause)

    def _end(self, code: int, verdict: str) -> None:
        self.code, self.verdict = code, verdict
        self._go(DONE, verdict if code else self.cause)

    def _fail(self, name: str, reason: str, rank: Any, ends: bool = False) -> None:
        """A failure, noted once a node and generation. The first one that did not only lose its peers is the culprit; the first one stops the generation."""
        noted = any(one["generation"] == self.generation and one["node"] == name for one in self.order)
        if self.phase not in (RUNNING, DUMPING, STOPPING) or (noted and not ends):
            return
        # Nobody is to look at the node of one that only noticed.
        who = f"{name} lost a peer, and who is at fault is not known" if name and phases.suffers(reason) else name
        entry = {"at": round(self.now() - self.began, 3), "generation": self.generation, "node": name, "rank": rank, "reason": reason,
                 "words": f"{who}: {reason}" if who else reason}
        self.order.append(entry)
        self._event("failure", **entry)
        if self.phase == RUNNING or ends:
            self.culprit = entry
            self._go(STOPPING, entry["words"])
        elif self.saving_stop:
            # The others would wait for it in their save.
            self.culprit, self.since, self.version = entry, self.now(), self.version + 1
        elif self._suffers() and not phases.suffers(reason):
            # Heard later, as its node looked later, or was lost; the one before suffered from it.
            self.culprit, self.cause = entry, entry["words"]

    def _suffers(self) -> bool:
        """Whether this generation is being stopped for the words of one that only lost its peers: who is at fault may still be heard of."""
        return bool(self.culprit and self.culprit["generation"] == self.generation and phases.suffers(self.culprit["reason"]))

    def _stop_words(self) -> str:
        return f"stopped: asked for by {self.stop_asked}" + (f"; checkpoint of iteration {self.best}" if self.best else "")

    def _after_failure(self, words: str) -> str:
        return f"{words}; this was after: {self.cause}" if self.cause and self.ran else words

    def _event(self, event: str, **more: Any) -> None:
        self.events.append({"at": round(self.now() - self.began, 3), "event": event, **more})
