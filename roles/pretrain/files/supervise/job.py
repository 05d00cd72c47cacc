"""One start of the launch script: begun, stopped with everything below it, and nothing left of it."""
from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from typing import Any, Callable

from supervise import evidence, processes, stacks
from supervise.children import Children, descendants, sweep
from supervise.config import Config
from supervise.ranks import main_threads


class Job:
    """The launch script of this node; one at a time."""

    def __init__(self, config: Config, children: Children) -> None:
        self.config, self._children = config, children
        self.stderr = os.path.join(config.folder, "stderr.txt")
        self._pid = 0
        self.ended: asyncio.Future[int] = asyncio.get_event_loop().create_future()
        #: rank to pid
        self.ranks: dict[int, int] = {}

    def clear(self) -> None:
        """Put aside what an earlier start said of its end, to the logs of its ranks, which the launch script puts aside a moment later."""
        for name in ("failures", "stacks"):
            path = os.path.join(self.config.run_dir, name)
            with contextlib.suppress(OSError):
                os.replace(path, os.path.join(self.config.run_dir, "ranks", name))
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(self.config.run_dir, "result"))

    def start(self, generation: int, port: int, load: int | None) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        name, _, value = self.config.mark.partition("=")
        # By the folder all of a run are known, also what the script begins before it says so itself, and also when this process is gone.
        environment = {**os.environ, name: value, "ASCEND_RUN_DIR": self.config.run_dir, "MASTER_PORT": str(port),
                       "SUPERVISE_GENERATION": str(generation), "SUPERVISE_LOAD": str(load or "")}
        self.ranks = {}
        # Its output is the log's copy for the journal; its own words, when it refuses to begin, are told.
        with open(self.stderr, "wb") as stderr:
            self._pid, self.ended = self._children.start(self.config.command, environment, stderr=stderr)

    async def wait(self) -> int:
        """Its status, when it has ended by itself or after a stop."""
        return await asyncio.shield(self.ended)

    async def _ends_within(self, seconds: float, goes_on: Callable[[], bool] = lambda: True) -> bool:
        deadline = asyncio.get_event_loop().time() + seconds
        while asyncio.get_event_loop().time() < deadline and goes_on():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wait(), 0.2)
                return True
        return False

    def stop_soon(self, saves: Callable[[], bool]) -> None:
        """Begin to stop it, where it has been started."""
        if self._pid and not self.ended.done():
            self._stopping = asyncio.ensure_future(self._stop(saves))

    async def _stop(self, saves: Callable[[], bool]) -> None:
        """SIGTERM, and SIGKILL after the grace.

        Args:
            saves: whether the ranks are to save. They get the signal themselves then: torchrun would kill them after 30 s.
        """
        if saves():
            # Ranks that saved end with 0, and so does torchrun: by this the launch script knows that it is no success.
            with contextlib.suppress(OSError), open(os.path.join(self.config.run_dir, "stopping"), "wb"):
                pass
            below = set(descendants())
            pids = [pid for pid in {**self.ranks, **stacks.registered(self.config.run_dir)}.values() if pid in below]
            for pid in pids:
                processes.send(pid, signal.SIGTERM)
            if pids and await self._ends_within(self.config.times.save, saves):
                return
        processes.send(self._pid, signal.SIGTERM)
        if not await self._ends_within(self.config.times.grace):
            processes.send(self._pid, signal.SIGKILL)

    async def sweep(self) -> list[str]:
        """Nothing of a generation outlives it: it would hold the lock, the NPUs and the port of the next one. What cannot be ended, in words."""
        return await sweep(self.config.mark)

    async def ready(self) -> str:
        """Why this node cannot start, "" when it can."""
        config = self.config
        left = await self.sweep()
        if left:
            return f"processes of an earlier start do not end, even by SIGKILL: {', '.join(left[:4])}. Reboot the node"
        script = next((word for word in config.command if os.path.isabs(word) and not os.access(word, os.R_OK)), "")
        if script or not shutil.which(config.command[0]):
            return f"{script or config.command[0]} (command) is not there or cannot be read: run site.yml again"
        if not os.access(config.run_dir, os.W_OK):
            return f"{config.run_dir} (run_dir) cannot be written by this user"
        held = processes.holders()
        if held:
            words = ", ".join(f"{device} by {pid} ({processes.command(pid)})" for pid, device in held[:4])
            return f"NPUs are held: {words}. End these processes, or run playbooks/stop.yml"
        if config.ready:
            status, said = await self._children.run(config.ready, config.times.form)
            if status:
                return said or f"{config.ready[0]} (ready) ended with status {status}"
        return ""

    async def ask_logs(self, generation: int) -> str:
        """Let the logs be searched for why it ended; what went wrong, in words."""
        program = [sys.executable, os.path.dirname(os.path.abspath(__file__)), "evidence", os.path.join(self.config.folder, "config.json"), str(generation)]
        status, said = await self._children.run(program, evidence.ENDED)
        return f"the logs were not searched for why it ended (status {status}): {said}" if status else ""

    async def ask_on_end(self, given: bytes) -> str:
        """Run the site's command; what went wrong, in words."""
        status, said = await self._children.run(["/bin/sh", "-c", self.config.on_end], 60.0, given)
        return f"on_end ended with status {status}: {said}" if status else ""


def stacks_of(config: Config) -> dict[str, Any]:
    """Ask the ranks for their stacks, and wait for them (in a thread)."""
    return main_threads(stacks.ask(config.run_dir, config.times.dump * 0.6))
