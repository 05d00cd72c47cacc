"""A node's part of one measurement: a process for each NPU, bounded in time."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Callable

TEXT_BYTES = 4000  # of what a process said last
GRACE = 10  # seconds for the other ranks to end when one has failed


class Rank:
    """One process."""

    def __init__(self, order: dict[str, Any], environment: dict[str, str]) -> None:
        self.device = order["device"]
        self.out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open until it is read
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        words = [sys.executable, sys.argv[0], "rank", json.dumps({**order, "parent": os.getpid()})]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.errors, env=environment, start_new_session=True)

    def end(self) -> None:
        """Kill it with all that it started. Not waited for: in state D it stays."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)

    @staticmethod
    def _tail(stream: IO[bytes]) -> str:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - TEXT_BYTES * 100))
        return stream.read().decode(errors="replace")

    def result(self, ended: str) -> dict[str, Any]:
        """What it found, or how it ended and what it said; ``ended``: why it was ended, if it was."""
        lines = self._tail(self.out).splitlines()
        at = next((line[2:] for line in reversed(lines) if line.startswith("@ ")), "start")
        status = self.process.poll()
        if status == 0 and lines and lines[-1].startswith("{"):
            return {"device": self.device, **json.loads(lines[-1])}
        if status is None or ended:
            what = ended or "no answer"
        elif status < 0:
            what = f"died of signal {-status}"
        else:
            what = f"ended with status {status}"
        return {"device": self.device, "failed": what, "at": at, "text": self._tail(self.errors)[-TEXT_BYTES:].strip()}


def run(orders: list[dict[str, Any]], environment: dict[str, str], seconds: float, stopped: Callable[[], str]) -> list[dict[str, Any]]:
    """Run a process for each order to its end, to the end of the time, or a little longer than somebody else's failure.

    Args:
        orders: one a NPU.
        environment: of the processes.
        seconds: bound.
        stopped: says why the rest need not go on, "" while they shall; asked now and then.
    """
    deadline = time.monotonic() + seconds
    ranks = [Rank(order, environment) for order in orders]
    why = f"no answer within {seconds:g} s"
    ended: dict[int, str] = {}
    while any(rank.process.poll() is None for rank in ranks):
        if time.monotonic() >= deadline:
            break
        if why.startswith("no answer"):
            failed = [rank.device for rank in ranks if rank.process.poll() not in (None, 0)]
            reason = f"ended, since NPU {failed[0]} failed" if failed else stopped()
            if reason:
                why, deadline = reason, min(deadline, time.monotonic() + GRACE)
        time.sleep(0.1)
    for rank in ranks:
        if rank.process.poll() is None:
            ended[rank.device] = why
            rank.end()
    return [rank.result(ended.get(rank.device, "")) for rank in ranks]


def works(results: list[dict[str, Any]]) -> bool:
    """Whether all of a node's NPUs gave an answer, and a right one."""
    return all("failed" not in one and not wrongs(one) for one in results)


def wrongs(result: dict[str, Any]) -> list[str]:
    """What of a rank's values was wrong."""
    parts = [result.get("compute", {}), result.get("collectives", {}), *result.get("stress", {}).get("samples", [])]
    return [wrong for part in parts for wrong in part.get("wrong", [])]
