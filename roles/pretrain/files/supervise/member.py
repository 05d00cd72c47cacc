"""Obeys the hub on one node: prepares, starts when all are ready, stops when it must, and tells how it stands."""
from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import time
import traceback
from typing import Any, Callable, Coroutine, Mapping

from supervise import coordinator, nodes, ranks
from supervise.config import Config
from supervise.job import Job, stacks_of
from supervise.looks import Looks

LOOK, SCANNED, LAST_LOOK = 0.25, 30.0, 1.0
#: lines of the log that are told again on a new connection, and in one report at most
TOLD_LINES, SENT_LINES = 50, 200


class Member:
    """Of one node.

    Attributes:
        report: what the hub is told, without what `compose` adds.
        view: what the hub said last.
        over: set when there is nothing left to do; then `code` is the status to end with.
    """

    def __init__(self, config: Config, job: Job, looks: Looks, changed: asyncio.Event, say: Callable[[str], None]) -> None:
        self.config, self.job, self.looks, self._changed, self._say = config, job, looks, changed, say
        # Before it has looked it has none; only one that needs no file of any has no say (`nodes.Nodes.whole`).
        self.report: dict[str, Any] = {"generation": -1, "phase": nodes.PREPARING, "seen": 0, "epoch": "", "whole": [] if config.checkpoints.shards else None}
        self.view: dict[str, Any] = {}
        self.over, self.code = asyncio.Event(), 0
        self.heard_at = self._looked = time.monotonic()
        self._lag = 0.0
        self._started_at = ("", 0.0, 0.0)
        #: of the log: still to be told, and the last ones that were
        self._lines: collections.deque[list[Any]] = collections.deque()
        self._told: collections.deque[list[Any]] = collections.deque(maxlen=TOLD_LINES)
        self._ending = self._saves = self._dumped = False
        #: the hub's life in which the job was started, and the generation that is prepared
        self._epoch, self._wanted = "", -1
        self._busy: asyncio.Future[None] | None = None
        self._look: asyncio.Future[dict[str, Any]] | None = None
        #: a stop is wished for: no need to wait for a hub that does not come
        self.leaves = False
        #: it takes part in no generation any more
        self.parted = False
        # Not the default one: what hangs there must not keep anybody else waiting.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    # what the hub is told

    def set(self, **values: Any) -> None:
        """Change the report, and send it at once."""
        if any(self.report.get(name) != value for name, value in values.items()):
            self.report.update(values)
            self._changed.set()

    def compose(self, first: bool) -> dict[str, Any]:
        """The report as it is sent now; on a new connection with the last lines of the log once more."""
        lines = list(self._told) if first else []
        while self._lines and len(lines) < SENT_LINES:
            lines.append(self._lines.popleft())
            self._told.append(lines[-1])
        if self._lines:
            self._changed.set()
        of, began, last = self._started_at
        now = time.monotonic()
        started = {"of": of, "first": now - began, "last": now - last} if of else None
        return {**self.report, "lines": lines, "started": started}

    @property
    def lives(self) -> bool:
        """Whether a job is there, or about to be."""
        return self.report["phase"] in (nodes.RUNNING, nodes.STOPPING)

    # what the hub says

    def heard(self, view: dict[str, Any]) -> None:
        """Obey."""
        self.view, self.heard_at = view, self._now()
        phase, generation, mine = view["phase"], view["generation"], self.report["generation"]
        self._saves = bool(view["save"]) and generation == mine
        if self.lives:
            same = generation == mine and view["epoch"] == self._epoch
            if not same or phase not in (coordinator.RUNNING, coordinator.DUMPING):
                self.end(f"the hub says: {phase}, generation {generation}")
            elif phase == coordinator.DUMPING and not self._dumped:
                self._dumped = True
                self._dumping = asyncio.ensure_future(self._dump())
        elif self.parted:
            pass
        elif phase == coordinator.FORMING and generation not in (mine, self._wanted):
            self._wanted = generation
            self._do(self._prepare(generation))
        elif phase == coordinator.RUNNING and generation == mine and self.report["phase"] == nodes.READY:
            self._ending = self._dumped = False
            self._epoch, self._look = view["epoch"], None
            self.set(phase=nodes.RUNNING)
            self._do(self._live(view))
        elif phase == coordinator.DONE:
            self.code = int(view["code"])
            self.over.set()
        self.set(seen=view["v"], epoch=view["epoch"])

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        before = self._busy

        async def after() -> None:
            if before is not None:
                await before
            try:
                await work
            except Exception as error:
                self._say("".join(traceback.format_exception(type(error), error, error.__traceback__)))
                await self.job.sweep()
                self.set(phase=nodes.EXITED if self.lives else nodes.UNABLE, rc=1, reason=f"its supervisor failed: {error!r}")

        self._busy = asyncio.ensure_future(after())

    # a generation

    async def _prepare(self, generation: int) -> None:
        if self.view["generation"] != generation:
            return
        self._lines.clear()
        self._told.clear()
        self._started_at = ("", 0.0, 0.0)
        self.report.update(dict.fromkeys(("rc", "failed", "reason", "stacks", "iteration", "saved")))
        self.set(generation=generation, phase=nodes.PREPARING)
        why = await self.job.ready()
        told, no_room = await self._in_thread(self.looks.ready)
        why = why or no_room
        self._say(f"generation {generation}: " + (f"cannot start: {why}" if why else "ready"))
        self.set(**told, phase=nodes.UNABLE if why else nodes.READY, reason=why)

    async def _live(self, view: Mapping[str, Any]) -> None:
        """From the start of the script until nothing of it is left."""
        generation, code, why, by_itself = view["generation"], 127, "", False
        try:
            await self._in_thread(self.looks.begin, view["load"])
            self.job.clear()
            if not self._ending:
                self.job.start(generation, view["port"], view["load"])
                now = time.monotonic()
                self._started_at = ("scripts", now, now)
                self._changed.set()
                self._say(f"generation {generation}: started, MASTER_PORT {view['port']}" + {
                    None: "", 0: ", from its beginning: no checkpoint precedes the failure"}.get(view["load"], f", from iteration {view['load']}"))
                code = await self._to_its_end()
                by_itself = not self._ending
                await self._see(self.job.ended)
        except OSError as error:
            why, by_itself = f"cannot start: {error}", not self._ending
        if by_itself and code:
            words = ranks.last_words(self.config.run_dir, self.job.stderr) or f"the launch script ended with status {code}"
            # A script that refused to begin has left the log of an earlier start as it was.
            told = ranks.torchrun_says(self.config.run_dir) if not why and self.looks.begun else None
            why = why or words
            if not self.report["failed"]:
                self.set(failed=told or {"rank": None, "reason": why})  # before looking for what is left
        scan = asyncio.ensure_future(self._in_thread(self.looks.checkpoints))
        left = await self.job.sweep()
        while left:
            self.set(phase=nodes.STOPPING, reason=f"SIGKILL does not end: {', '.join(left[:4])}")
            left = await self.job.sweep()
        if (code or not by_itself) and self.looks.begun and not self.leaves and not (self.view.get("status") or {}).get("stop_asked"):
            self._say(await self.job.ask_logs(generation) or f"generation {generation}: what the logs tell of its end is kept")
        # What it saved last belongs to its end; a file system that hangs does not keep it from ending.
        await asyncio.wait([scan], timeout=SCANNED)
        if scan.done() and not scan.exception():
            self.report.update(scan.result())
        self._say(f"generation {generation}: {'ended' if by_itself else 'stopped'} with status {code}, nothing is left{': ' + why if why else ''}")
        self.set(phase=nodes.EXITED if by_itself else nodes.STOPPED, rc=code, reason=why)
        if self.view:
            self.heard(self.view)

    async def _to_its_end(self) -> int:
        ended = asyncio.ensure_future(self.job.wait())
        while not ended.done():
            await asyncio.wait([ended], timeout=LOOK)
            if not self._ending or self._saves:
                await self._see(ended)
        return await ended

    async def _see(self, ended: asyncio.Future[int]) -> None:
        """Look at what the job does, as long as that takes, but not much longer than the job."""
        look = self._look = self._look or self._in_thread(self.looks.look, self.view.get("keep_from", 0))
        await asyncio.wait([look] if ended.done() else [look, ended], timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
        if not look.done():
            return
        self._look = None
        try:
            told = look.result()
        except OSError as error:
            self._say(f"cannot look at the run: {error}")
            return
        self.job.ranks = self.looks.ranks
        lines = told.pop("lines")
        if lines:
            self._lines.extend(lines)
            told["iteration"] = lines[-1][0]
            self._changed.set()
        started = told.pop("started", None)
        if started:
            now = time.monotonic()
            self._started_at = (started["of"], now - started["first"], now - started["last"])
            self._changed.set()
        if self._ending and not self._saves:
            told.pop("failed", None)
        self.set(**told)

    async def _dump(self) -> None:
        stacks = await asyncio.get_event_loop().run_in_executor(None, stacks_of, self.config)
        self._say(f"asked {len(stacks)} ranks for their stacks")
        self.set(stacks=stacks)

    def end(self, why: str) -> None:
        """Stop the script, for whatever reason; once."""
        if self.lives and not self._ending:
            self._say(f"stopping: {why}")
            self._ending = True
            self.set(phase=nodes.STOPPING)
            self._parting = asyncio.ensure_future(self._part())

    async def _part(self) -> None:
        """Stop the script. What failed before that is no consequence of it: looked at once more."""
        look = self._in_thread(self.looks.failed)
        await asyncio.wait([look], timeout=LAST_LOOK)
        if look.done() and not look.exception() and look.result() and not self.report["failed"]:
            self.set(failed=look.result())
        self.job.stop_soon(lambda: self._saves)

    # alone

    async def watch(self) -> None:
        """A node that is cut off stops itself, and calls on for the time that the others wait."""
        times = self.config.times
        while True:
            await asyncio.sleep(LOOK)
            silent = self._now() - self.heard_at
            if silent > times.orphan:
                self.end(f"the hub was not heard for {times.orphan:g} s (times.orphan)")
            if silent > times.orphan + (0 if self.leaves else times.form) and not self.lives:
                self._say(f"no hub for {silent:.0f} s: giving up")
                self.code = 3 if self.leaves else 5
                self.over.set()

    def _now(self) -> float:
        """A clock that stands still while this process does: what piled up meanwhile is read first."""
        now = time.monotonic()
        if now - self._looked > coordinator.GAP:
            self._lag += now - self._looked
        self._looked = now
        return now - self._lag

    def _in_thread(self, function: Callable[..., Any], *words: Any) -> asyncio.Future[Any]:
        return asyncio.get_event_loop().run_in_executor(self._thread, function, *words)
