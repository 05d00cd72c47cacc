"""How a generation gets on: its iterations, what counts as a hang, and how far apart its ranks began. Without I/O, by the hub's clock."""
from __future__ import annotations

import collections
import statistics
from typing import Any, Mapping

from supervise.config import Config
from supervise.nodes import EXITED
from supervise.stacks import verdict

#: what a report's `lines` hold, in this order
LINE = ("iteration", "total", "loss", "grad_norm", "ms", "skipped", "nan")


class Pace:
    """Of one generation at a time.

    Attributes:
        iteration: the newest one that was logged, 0 for none.
        line: its line, {} for none.
        first: the first line, {} for none.
        moved: when there was something new, None before the first iteration.
    """

    def __init__(self, config: Config, now: float) -> None:
        self.config, self.times = config, config.times
        self.begin(now, None)

    def begin(self, now: float, load: int | None) -> None:
        """A generation starts; those before do not count."""
        self.load, self.iteration = load, 0
        self.line: dict[str, Any] = {}
        self.first: dict[str, Any] = {}
        self.moved: float | None = None
        self._line_at: float | None = None
        self._gaps: collections.deque[float] = collections.deque(maxlen=20)
        self._longest = 0.0
        self._saved: dict[str, int] = {}
        self._saved_at: float | None = None
        #: since when the first line of the log is waited for
        self._waited = now
        self._starts: dict[str, tuple[str, float, float]] = {}
        self._first_end: float | None = None

    def take(self, name: str, report: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
        """Learn from a node's report; returns the lines that are new."""
        new = []
        for raw in report["lines"] or []:
            line = dict(zip(LINE, raw))
            if isinstance(line.get("iteration"), int) and line["iteration"] > self.iteration:
                self.iteration, self.line = line["iteration"], line
                self.first = self.first or line
                new.append(line)
        if new:
            if self._line_at is not None:
                gap = (now - self._line_at) / len(new)
                self._gaps.append(gap)
                self._longest = max(self._longest, now - self._line_at)
            self._line_at = self.moved = now
        saved = report["saved"]
        if saved is not None:
            if self._saved.get(name, saved) != saved:
                self._saved_at = now
                if self.moved is None:
                    self._waited = now
                else:
                    self.moved = now
            self._saved[name] = saved
        started = report["started"]
        if started and self._starts.get(name, ("",))[0] != started["of"]:
            self._starts[name] = str(started["of"]), now - float(started["first"]), now - float(started["last"])
        if report["phase"] == EXITED and self._first_end is None:
            self._first_end = now
        return new

    def limit(self) -> float:
        """Seconds without anything new that are a hang."""
        if self.moved is None:
            # What comes first in the log comes after `log_interval` iterations, each of which may take as long as a fifth of a hang.
            return self.times.first + (self.config.log_interval - 1) * self.times.hang / 5
        usual = max(statistics.median(self._gaps) if self._gaps else 0.0, float(self.line.get("ms") or 0) / 1000 * self.config.log_interval)
        return max(self.times.hang, 10 * usual + self._longest)

    def hangs(self, now: float) -> str:
        """Words for a hang, "" while there is none."""
        if self.moved is None:
            late = now - self._waited > self.limit()
            return f"no iteration in the log within {self.limit():g} s of the start (times.first)" if late else ""
        return f"no iteration after {self.iteration} for {self.limit():.0f} s" if now - self.moved > self.limit() else ""

    def ended(self, now: float) -> float:
        """Seconds since the first node's script ended."""
        return 0.0 if self._first_end is None else now - self._first_end

    def skew(self) -> dict[str, Any] | None:
        """Between the first and the last start; None while a node has not told its own."""
        if len(self._starts) < len(self.config.nodes):
            return None
        first = min(self._starts, key=lambda name: self._starts[name][1])
        last = max(self._starts, key=lambda name: self._starts[name][2])
        of = "ranks" if all(kind == "ranks" for kind, _, _ in self._starts.values()) else "scripts"
        return {"seconds": round(self._starts[last][2] - self._starts[first][1], 3), "first": first, "last": last, "of": of}

    def told(self, now: float) -> dict[str, Any]:
        """For those who ask."""
        found = {name: self.line.get(name) for name in LINE}
        return {**found, "iteration": self.iteration, "total": self.config.train_iters or found["total"],
                "moved": None if self.moved is None else round(now - self.moved, 1), "hang": round(self.limit(), 1),
                "saving": self._saved_at is not None and now - self._saved_at < 15, "loaded": self.load,
                "tokens_per_iteration": self.config.tokens_per_iteration, "ranks": len(self.config.nodes) * self.config.nproc_per_node}

    def accused(self, stacks: Mapping[str, Mapping[str, Any]]) -> tuple[int | None, str]:
        """The rank that others wait for, as far as their stacks tell, and words."""
        merged = {int(rank): one for ranks in stacks.values() for rank, one in ranks.items()}
        found = verdict(merged, self.config.nodes, self.config.nproc_per_node, [name for name in self.config.nodes if name not in stacks])
        words = " ".join(line.strip() for line in str(found["message"]).splitlines()[:3])
        return (found["ranks"][0] if found["ranks"] else None), words
