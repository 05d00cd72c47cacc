"""The meeting point, on the master: gives the coordinator what the members say, and the members its view; keeps its state on disk before they hear of it."""
from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Mapping

from supervise import kept, link, status
from supervise.config import Config
from supervise.coordinator import DONE, DUMPING, STOPPING, Coordinator
from supervise.door import Door, Guest, encoded
from supervise.nodes import checked

TICK = 0.1
#: views that need not be on the disk before: what they ask for is right after a restart of the hub, too
URGENT = (DUMPING, STOPPING)


class Hub(Door):
    """The door of the master."""

    def __init__(self, config: Config, token: bytes, epoch: str) -> None:
        super().__init__(token)
        self.config = config
        self._state = os.path.join(config.folder, "state.json")
        before = kept.read(self._state)
        self.coordinator = Coordinator(config, time.monotonic, epoch, before if before.get("run") == config.run else {})
        #: the run was over before this life of the hub, which has heard nobody yet
        self._after_the_end = self.coordinator.phase == DONE
        self.guests: dict[str, Guest] = {}
        #: those that hang up because they heard nothing, and call again
        self._back: set[Guest] = set()
        self._saved: Mapping[str, Any] = {}
        self._saved_version = self._sent = 0
        self._saving: asyncio.Future[None] | None = None
        self._line, self._made = b"", 0.0

    async def run(self) -> None:
        """Go on until the run is over and everybody knows, also one who was not there in that moment: it would wait for a hub."""
        done, c = 0.0, self.coordinator
        while not done or (time.monotonic() - done < self.config.times.lost and (self.guests or c.nodes.unaware(c.epoch, c.version, self._after_the_end))):
            self.look()
            if c.phase == DONE and self._sent == c.version and not done:
                done = time.monotonic()
            await asyncio.sleep(TICK)

    def look(self) -> None:
        """Let time pass, and tell everybody what has changed."""
        c = self.coordinator
        c.tick()
        state = c.kept()
        if state == self._saved:
            self._saved_version = c.version
        elif self._saving is None:
            self._saving = asyncio.ensure_future(self._save(state, c.version))
        now = time.monotonic()
        if c.version != self._sent and (c.phase in URGENT or self._saved_version == c.version):
            self._sent = c.version
            self._make(now)
            for guest in list(self.guests.values()):
                guest.put(self._line)
        elif c.version == self._sent and now - self._made >= self.config.times.beat / 2:
            self._make(now)

    def _make(self, now: float) -> None:
        self._made = now
        self._line = encoded({**self.coordinator.view(), "status": status.brief(self.coordinator)})

    async def _save(self, state: Mapping[str, Any], version: int) -> None:
        events, self.coordinator.events = self.coordinator.events, []
        try:
            await asyncio.get_event_loop().run_in_executor(None, self._write, state, events)
        except OSError as error:
            words = f"{self._state} cannot be written ({error.strerror}): a restart of the master's supervisor would not know of this"
            if words not in self.coordinator.warnings:
                self.coordinator.warnings.append(words)
        self._saved, self._saved_version, self._saving = state, version, None
        self.look()

    def _write(self, state: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
        kept.write(self._state, state)
        kept.append(os.path.join(self.config.folder, "journal.jsonl"), [{"time": round(time.time(), 3), **event} for event in events])

    def joined(self, guest: Guest, run: str, name: str, incarnation: str) -> str:
        """One supervisor a node: a second one is refused while the first is there."""
        if run != self.config.run or name not in self.coordinator.nodes.heard:
            return f"run {run}, node {name}: the hub is of run {self.config.run}, whose nodes are {self.coordinator.nodes.join(self.config.nodes)}"
        other = self.guests.get(name)
        silent = self.coordinator.now() - self.coordinator.nodes.heard[name]
        if other is not None and other.incarnation != incarnation and silent < self.config.times.lost:
            return f"another supervisor of {name} is here"
        self.guests[name] = guest
        if other is not None:
            other.transport.abort()
        return ""

    def said(self, guest: Guest, message: Any) -> None:
        """A report, answered by the view."""
        if self.guests.get(guest.name) is not guest:
            return
        if message == link.BACK:
            self._back.add(guest)
            guest.transport.close()
            return
        before = self.coordinator.version
        self.coordinator.report(guest.name, guest.incarnation, checked(message))
        if self.coordinator.version != before:
            asyncio.get_event_loop().call_soon(self.look)
        if self._line:
            guest.put(self._line)

    def left(self, guest: Guest) -> None:
        """It may come back."""
        if self.guests.get(guest.name) is guest:
            del self.guests[guest.name]
            if guest not in self._back:
                self.coordinator.gone(guest.name, guest.incarnation)
        self._back.discard(guest)

    async def asked(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Status, or a stop, which is answered when it is on the disk, or after 10 s when the disk does not answer: it is under way all the same."""
        c = self.coordinator
        if ask.get("what") == "stop":
            c.stop(str(ask.get("who") or "somebody"))
            deadline = time.monotonic() + 10
            while self._saved.get("stop_asked") != c.stop_asked and time.monotonic() < deadline:
                self.look()
                await asyncio.sleep(0.02)
        told = status.full(c) if ask.get("full") else status.brief(c)
        if isinstance(ask.get("after"), int):
            told["lines"] = status.lines_after(c, ask["after"])
        return told
