"""What a person sees of a rehearsal: stages and progress now, a summary at the end, everything in a log file."""
from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

_ITERATION = re.compile(r"iteration +(\d+)/(\d+) \| lm loss ([\d.eE+-]+|nan|inf)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The first play of each playbook: site.yml has it a dozen times.
NO_STAGE = "Refuse a run that would do nothing"


@dataclass
class Failure:
    """One task that failed on one node."""

    stage: str
    task: str
    host: str
    message: str


@dataclass
class Report:
    """Collects the events of a run and shows them; spinner on a terminal, plain lines elsewhere."""

    log_path: Path
    console: Console = field(default_factory=Console)
    stages: list[tuple[str, float]] = field(default_factory=list)
    #: what made a play fail; what a rescue caught is no failure
    failures: list[Failure] = field(default_factory=list)
    #: (iteration, lm loss in nats per token), in the order logged
    losses: list[tuple[int, float]] = field(default_factory=list)
    #: per host: ok, changed, failures and so on
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    #: of the play that runs: a rescue may still come
    _open: list[Failure] = field(default_factory=list)
    _stage: str = ""
    _since: float = 0.0
    _status: Status | None = None

    def __enter__(self) -> Report:
        """Open the log."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log = self.log_path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the log."""
        self.end_stage()
        self._log.close()

    def log(self, text: str) -> None:
        """Keep a text in the log file only."""
        self._log.write(_COLOURS.sub("", text).rstrip("\n") + "\n")
        self._log.flush()

    def line(self, text: str) -> None:
        """Show a line, and keep it."""
        self.log(text)
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def begin_stage(self, name: str) -> None:
        """Begin a stage, which ends the one before."""
        if name == self._stage:
            return
        self.end_stage()
        self._stage, self._since = name, time.monotonic()
        self.line(f"==> {name}")
        if self.console.is_terminal:
            self._status = self.console.status(name)
            self._status.start()

    def doing(self, what: str) -> None:
        """Say what the stage is busy with: on a terminal only."""
        self.log(what)
        if self._status:
            self._status.update(f"{escape(self._stage)}: {escape(what)}")

    def end_stage(self) -> None:
        """End the stage and keep its time (s)."""
        if self._status:
            self._status.stop()
            self._status = None
        if self._stage:
            self.stages.append((self._stage, time.monotonic() - self._since))
            self._stage = ""

    def event(self, event: dict[str, Any]) -> bool:
        """Take an event of ansible-runner. Returns False: runner need not keep it."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        if event.get("stdout"):
            self.log(event["stdout"])
        if kind == "playbook_on_play_start":
            name = str(data.get("name") or data.get("play") or "play")
            if name != NO_STAGE:
                self.begin_stage(name)
        elif kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self.doing(str(data.get("task", "")))
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            result = data.get("res", {})
            if not (kind == "runner_on_unreachable" and result.get("skip_reason")):
                self._open.append(Failure(self._stage, str(data.get("task", "")), str(data.get("host", "")),
                                          str(result.get("msg") or result.get("stderr") or result)))
        elif kind == "runner_on_ok" and data.get("task_action", "").endswith("debug"):
            message = data.get("res", {}).get("msg")
            if isinstance(message, str):
                self.messages.append(message)
                self.line(f"    {message}")
        elif kind == "verbose":
            for text in _COLOURS.sub("", event.get("stdout", "")).splitlines():
                match = _ITERATION.search(text)
                if match:
                    self.losses.append((int(match.group(1)), float(match.group(3))))
                    self.line(f"    {text.strip()}")
        elif kind == "playbook_on_stats":
            self._collect_stats(data)
        return False

    def _collect_stats(self, data: dict[str, Any]) -> None:
        for name in ("ok", "changed", "failures", "dark", "skipped", "ignored", "rescued"):
            for host, count in data.get(name, {}).items():
                self.stats.setdefault(host, {})[name] = int(count)
        # Ansible says of no event that it was rescued, but counts: a host's last failures are those that nothing caught.
        uncaught = {host: stats.get("failures", 0) + stats.get("dark", 0) for host, stats in self.stats.items()}
        kept: list[Failure] = []
        for failure in reversed(self._open):
            if uncaught.get(failure.host, 0) > 0:
                uncaught[failure.host] -= 1
                kept.insert(0, failure)
        self.failures += kept
        self._open = []

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(stats.get("changed", 0) for stats in self.stats.values())

    def summary(self, succeeded: bool, facts: dict[str, str]) -> None:
        """Show the end: times, losses, where things lie; or what failed and how to look further.

        Args:
            succeeded: whether the run did.
            facts: names and values to list, in order.
        """
        self.end_stage()
        times = Table(title="Time per stage", title_justify="left", box=None, show_header=False)
        for name, seconds in self.stages:
            times.add_row(name, f"{seconds:7.1f} s")
        times.add_row("all", f"{sum(seconds for _, seconds in self.stages):7.1f} s")
        self._both(times)
        if self.losses:
            (first, loss), (last, final) = self.losses[0], self.losses[-1]
            self.line(f"lm loss: {loss:.6f} at iteration {first}, {final:.6f} at iteration {last}")
        listing = Table(box=None, show_header=False)
        for name, value in facts.items():
            listing.add_row(name, escape(value))
        self._both(listing)
        if self.stats:
            self.line(f"changed tasks: {self.changed}")
        if self._open:
            self.line("Ansible was ended before it could say what of this was rescued:")
        for failure in self.failures + self._open:
            self.line(f"FAILED on {failure.host}, stage '{failure.stage}', task '{failure.task}':")
            for text in failure.message.splitlines():
                self.line(f"    {text}")
        self.line(f"The full log: {self.log_path}")
        self.line("The rehearsal succeeded." if succeeded else "The rehearsal FAILED.")

    def _both(self, table: Table) -> None:
        self.console.print(table)
        plain = Console(file=self._log, width=160, no_color=True)
        plain.print(table)
