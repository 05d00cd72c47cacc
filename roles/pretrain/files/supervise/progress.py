"""What the launch script's log has told since this generation began."""
from __future__ import annotations

import os
from typing import Any

from supervise.training_log import iterations

CHUNK = 4 * 1024 * 1024


class Log:
    """A log that is read as it grows; an earlier one, which the script puts aside at its start, is passed over."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._rest = b""
        found = self._stat()
        self._inode, self._offset = found if found else (0, 0)
        self._older = self._inode

    @property
    def begun(self) -> bool:
        """Whether this start has a log of its own."""
        found = self._stat()
        return found is not None and found[0] != self._older

    def _stat(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self.path)
        except OSError:
            return None
        return there.st_ino, there.st_size

    def read(self) -> list[list[Any]]:
        """The iterations that were logged since the last time, as `pace.LINE` has them."""
        found = self._stat()
        if found is None:
            return []
        if found[0] != self._inode or found[1] < self._offset:
            self._inode, self._offset, self._rest = found[0], 0, b""
        if found[1] == self._offset:
            return []
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read(CHUNK)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-CHUNK:]
        told = iterations(line.decode("utf-8", "replace") for line in lines if b"iteration" in line)
        return [[one.iteration, one.train_iters, one.lm_loss, one.grad_norm, one.elapsed_ms, one.skipped, one.nan] for one in told]
