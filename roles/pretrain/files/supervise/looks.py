"""What a node's files and processes tell while a job runs. In a thread of its own: a file system that hangs must not silence the supervisor."""
from __future__ import annotations

import os
import time
from typing import Any

from supervise import ranks
from supervise.checkpoints import Disk, Found
from supervise.config import Config
from supervise.progress import Log

#: seconds from one look at the checkpoints to the next
SCAN = 5.0


class Looks:
    """Everything is returned as keys of a report."""

    def __init__(self, config: Config) -> None:
        self.config, self.disk = config, Disk(config.checkpoints, config.resume)
        self._log: Log | None = None
        self._known: dict[int, int] = {}
        self._started, self._scanned = False, 0.0

    def begin(self, load: int | None) -> None:
        """A job is about to start, from a checkpoint where `load` names one.

        Raises:
            OSError: the tracker cannot be written.
        """
        if load and (self.config.is_master or not self.config.checkpoints.shared):
            self.disk.track(load)
        self._log = Log(os.path.join(self.config.run_dir, "train.log"))
        self._known, self._started, self._scanned = {}, False, time.monotonic()

    def look(self, keep_from: int) -> dict[str, Any]:
        """What is new."""
        told: dict[str, Any] = {"lines": self._log.read() if self._log else []}
        failed = self.failed()
        if failed:
            told["failed"] = failed
        if not self._started:
            started = ranks.started(self.config.run_dir, self.config.nproc_per_node)
            if started:
                told["started"], self._started = started, True
        if time.monotonic() - self._scanned > min(SCAN, self.config.times.beat):
            told.update(self.checkpoints(keep_from))
        return told

    @property
    def begun(self) -> bool:
        """Whether the script of this start has begun a log."""
        return self._log is not None and self._log.begun

    def failed(self) -> dict[str, Any] | None:
        """The first rank that failed."""
        return ranks.failed(self.config.run_dir, self._known)

    @property
    def ranks(self) -> dict[int, int]:
        """Rank to pid."""
        return dict(self._known)

    def checkpoints(self, keep_from: int = 0) -> dict[str, Any]:
        """The checkpoints here, pruned where they may be."""
        found = self.disk.look()
        if keep_from and (self.config.is_master or not self.config.checkpoints.shared):
            self.disk.prune(keep_from, found.whole)
        self._scanned = time.monotonic()
        return _keys(found, self.disk.free())

    def ready(self) -> tuple[dict[str, Any], str]:
        """The checkpoints before a start, and why there is no room for more."""
        found = self.disk.look()
        return _keys(found, self.disk.free()), self.disk.no_room(found)


def _keys(found: Found, free: int | None) -> dict[str, Any]:
    return {"whole": found.whole, "lacking": {number: why[:300] for number, why in found.lacking.items()}, "saved": found.saved, "free": free}
