"""Our children: started, waited for and ended, and all below us in whatever session."""
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from typing import Any, Mapping, Sequence

from supervise.processes import command, lives, marked, pids, send, stat

_PR_SET_CHILD_SUBREAPER = 36
TRIES = 20


def descendants() -> list[int]:
    """All living processes below this one; being their subreaper it has those whose parents are dead, too."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        found = stat(pid)
        if found:
            children.setdefault(found.parent, []).append(pid)
    below, wave = [], [os.getpid()]
    while wave:
        wave = [child for pid in wave for child in children.get(pid, [])]
        below += wave
    return [pid for pid in below if lives(pid)]


class Children:
    """All children of this process are started and waited for here, so that those which it adopts can be waited for as well."""

    def __init__(self) -> None:
        self._ended: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        asyncio.get_event_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, words: Sequence[str], environment: Mapping[str, str] | None = None, stdin: Any = subprocess.DEVNULL, stdout: Any = None,
              stderr: Any = None) -> tuple[int, asyncio.Future[int]]:
        """Start a program in a session of its own: its pid, and its status to come (negative: by a signal).

        Raises:
            OSError: it cannot be started.
        """
        process = subprocess.Popen(words, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
        ended: asyncio.Future[int] = asyncio.get_event_loop().create_future()
        self._ended[process.pid] = process, ended
        return process.pid, ended

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._ended:
                    process, ended = self._ended.pop(pid)
                    process.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                    if not ended.done():
                        ended.set_result(process.returncode)

    async def run(self, words: Sequence[str], seconds: float, given: bytes = b"") -> tuple[int, str]:
        """Run a short program: its status (124: it took too long) and the last line that it said."""
        import tempfile

        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            stdin.write(given)
            stdin.seek(0)
            try:
                pid, ended = self.start(words, None, stdin, output, output)
            except OSError as error:
                return 127, f"{words[0]}: {error.strerror}"
            try:
                status = await asyncio.wait_for(ended, seconds)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return 124, f"not done after {seconds:g} s"
            output.seek(0)
            lines = output.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return status, lines[-1][:400] if lines else ""


async def sweep(mark: str, seconds: float = 10.0) -> list[str]:
    """Kill all below us and all with a mark; what SIGKILL did not end, in words."""
    deadline, tries = asyncio.get_event_loop().time() + seconds, 0
    while True:
        tries += 1
        left = sorted({*descendants(), *marked(mark)})
        for pid in left:
            send(pid, signal.SIGKILL)
        if not left:
            return []
        # On a machine that is busy the time alone says nothing.
        if asyncio.get_event_loop().time() > deadline and tries > TRIES:
            states = {pid: stat(pid) for pid in left}
            return [f"{pid} ({command(pid)}, state {found.state})" for pid, found in states.items() if found]
        await asyncio.sleep(0.05)
