"""One supervisor: the member of its node, its door, on the master the hub, and what signals mean."""
from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from typing import Any, Sequence

from supervise import kept, link, nodes
from supervise.children import Children
from supervise.config import Config, ConfigError
from supervise.door import Door, Local
from supervise.hub import Hub
from supervise.job import Job
from supervise.looks import Looks
from supervise.member import Member
from supervise.status import SENT_LINES

REFUSED = 4
#: what systemd says of a machine that does not shut down, and the note that keeps people out of one that does
UP = ("initializing", "starting", "running", "degraded", "maintenance")
NO_LOGIN = "/run/nologin"


def say(text: str) -> None:
    """To the journal of the unit."""
    print(f"supervise: {text}", flush=True)


def shuts_down(state: str) -> bool:
    """Whether the machine does, by what `systemctl is-system-running` said. The bus over which it asks may have ended before."""
    return state == "stopping" or (state not in UP and os.path.exists(NO_LOGIN))


def alone(config: Config) -> None:
    """Hold the lock of this run on this node, as long as this process lives.

    Raises:
        ConfigError: another supervisor has it, or the folder cannot be written.
    """
    path = os.path.join(config.folder, "lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        kept.append(os.path.join(config.folder, "journal.jsonl"), [{"time": round(time.time(), 3), "event": "supervisor", "pid": os.getpid()}])
    except OSError as error:
        raise ConfigError(f"{config.folder} cannot be written: {error.strerror}. It is the training user's, with mode 0700 (docs/run.md).") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(f"Another supervisor of run {config.run} is at work on this node (it holds {path}). Ask it: supervise ask status.") from error


class Supervisor:
    """Made inside the running loop."""

    def __init__(self, config: Config, token: bytes) -> None:
        self.config, self.token = config, token
        self.incarnation = os.urandom(8).hex()
        self.children = Children()
        self.hub = Hub(config, token, self.incarnation) if config.is_master else None
        self.door: Door = self.hub or Local(token, config.node, config.hub, self._answer)
        self.link = link.Link(config, token, self.incarnation, lambda first: self.member.compose(first), lambda view: self.member.heard(view), say)
        self.job = Job(config, self.children)
        self.member = Member(config, self.job, Looks(config), self.link.changed, say)

    async def run(self) -> int:
        """To the end of the run, or of this node's part in it; returns the status to exit with.

        Raises:
            ConfigError: the port cannot be had.
        """
        server = await self.door.open(self.config.address, self.config.port)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_event_loop().add_signal_handler(number, lambda: asyncio.ensure_future(self._signalled()))
        say(f"{self.config.node} of run {self.config.run}, {len(self.config.nodes)} nodes, " + (
            f"the hub, at {self.config.address}:{self.config.port}" if self.hub else f"the hub is at {self.config.hub}:{self.config.port}"))
        over = asyncio.ensure_future(self.member.over.wait())
        calls = asyncio.ensure_future(self.link.keep())
        works: list[asyncio.Future[Any]] = [calls, asyncio.ensure_future(self.member.watch()), asyncio.ensure_future(self._refused())]
        meeting = asyncio.ensure_future(self.hub.run()) if self.hub else None
        try:
            await self._until(over, [*works, *([meeting] if meeting else [])])
            if self.member.code in (0, 1, 3) and self.member.view.get("phase") == "done":
                await self._end({**self.member.view["status"], "from": self.config.node, "hub": bool(self.hub), "age": None})
            while not calls.done():
                # wait_for may swallow a cancellation that comes with its result (bpo-37658).
                calls.cancel()
                await asyncio.wait([calls], timeout=0.2)
            if meeting:
                if self.member.view.get("phase") == "done":
                    await meeting
                meeting.cancel()
        finally:
            await self.job.sweep()
            server.close()
        return self.member.code

    async def _until(self, over: asyncio.Future[Any], works: Sequence[asyncio.Future[Any]]) -> None:
        """Wait for the end; what must not end before it lets the supervisor end where it fails."""
        pending = {over, *works}
        while not over.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()

    async def _end(self, result: dict[str, Any]) -> None:
        say(f"{result['verdict']} (status {self.member.code})")
        path = os.path.join(self.config.folder, "result.json")
        try:
            # With the last lines: the hub is gone before everybody who follows has asked for them.
            kept.write(path, {**result, "lines": list(self.hub.coordinator.lines)[-SENT_LINES:]} if self.hub else result)
        except OSError as error:
            say(f"{path} cannot be written: {error.strerror}")
        if self.hub and self.config.on_end:
            went = await self.job.ask_on_end(json.dumps({**result, "message": result["verdict"]}).encode())
            if went:
                say(went)

    async def _refused(self) -> None:
        while not self.link.refused:
            await asyncio.sleep(0.1)
        say(f"refused by the hub: {self.link.refused}. Compare {self.config.token_file} and the hub's address with the master's, or run site.yml again")
        self.member.code = REFUSED
        self.member.over.set()

    async def _signalled(self) -> None:
        """A wish to stop the run, unless the whole machine stops."""
        if self.member.leaves:
            return
        self.member.leaves = True
        _, state = await self.children.run(["systemctl", "is-system-running"], 5.0)
        who = f"SIGTERM at the supervisor of {self.config.node}"
        if shuts_down(state):
            # One that is ready is not any more: nobody starts with it.
            self.member.set(leaving="its machine shuts down", **({} if self.member.lives else {"phase": nodes.PREPARING}))
            await self._alone("its machine shuts down", 0)
            return
        say("SIGTERM: asking for a stop of the run")
        try:
            answer = await self._stop(who)
            if "error" in answer:
                raise ConnectionError(answer["error"])
        except link.FAILURES as error:
            say(f"the hub cannot be asked ({error or type(error).__name__}): this node stops alone, and the others find out by its silence")
            await self._alone("stopped, and no hub", 3)

    async def _alone(self, why: str, code: int) -> None:
        self.member.parted = True
        self.member.end(why)
        while self.member.lives:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)  # for the last report
        self.member.code = code
        self.member.over.set()

    async def _stop(self, who: str) -> dict[str, Any]:
        ask = {"what": "stop", "who": who}
        return await self.hub.asked(ask) if self.hub else await link.question(self.config, self.token, self.config.hub, ask)

    async def _answer(self, ask: dict[str, Any]) -> dict[str, Any]:
        """For those who cannot reach the hub: what it said last."""
        if ask.get("what") == "stop":
            return await self._stop(str(ask.get("who") or "somebody"))
        told = self.member.view.get("status")
        if told is None:
            return {"version": 1, "error": f"{self.config.node} has not heard the hub at {self.config.hub}:{self.config.port} yet"}
        return {**told, "from": self.config.node, "hub": False, "age": round(time.monotonic() - self.member.heard_at, 1)}
