"""A controller: a playbook that a user has started, and what it tells."""
from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

#: what a thing may take that must come at all: the machine may be busy
PATIENCE = 900.0
_ITERATION = re.compile(r"^\S+: iteration +\d+/")
_OF_ANSIBLE = re.compile(r"^(TASK|PLAY|ok:|changed:|skipping:|included:|RUNNING|\{|\}|\s|$|ASYNC|NO MORE|PLAYBOOK)")


class Missed(AssertionError):
    """What a case expected and did not see."""


def expect(condition: Any, words: str, *seen: Any) -> None:
    """Or the case fails, with these words."""
    if not condition:
        raise Missed(" | ".join([words, *(str(one) for one in seen)]))


class Controller:
    """A playbook that a user has started, with the time of each line that it prints."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.lines, self._log = process, list[tuple[float, str]](), log
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self._log.open("a", encoding="utf-8") as log:
            for line in self.process.stdout:
                self.lines.append((time.time(), line.rstrip("\n")))
                log.write(f"{time.strftime('%H:%M:%S')} {line}")
                log.flush()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def text(self, since: float = 0.0) -> str:
        """All that it printed, in one line and without the folds of yaml."""
        return " ".join(" ".join(line for at, line in self.lines if at >= since).replace("''", "'").split())

    def told(self, since: float) -> list[str]:
        """What it told of the run since then: neither Ansible's own lines nor iterations."""
        return [line for at, line in self.lines if at >= since and line and not _OF_ANSIBLE.match(line) and not _ITERATION.match(line)]

    def iterations(self, since: float = 0.0) -> list[str]:
        """The lines of iterations."""
        return [line for at, line in self.lines if at >= since and _ITERATION.match(line)]

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; its status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Missed(f"the playbook did not end; it said last: {' / '.join(line for _, line in self.lines[-8:])}") from error
        self._reader.join(10)
        return status

    def kill(self) -> None:
        """As a laptop that is switched off: nobody is told."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def afterwards(*works: Callable[[], Any]) -> Iterator[None]:
    """Do these, whatever happens."""
    try:
        yield
    finally:
        for work in works:
            work()
