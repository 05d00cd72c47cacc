"""Who may come in: lines of JSON over TCP, on one address; both sides prove by HMAC that they know the run's token. Nothing is encrypted."""
from __future__ import annotations

import asyncio
import collections
import hashlib
import hmac
import json
import os
from typing import Any, Awaitable, Callable, Mapping

from supervise.config import ConfigError

#: bytes of a line before and after the proof, seconds for it, connections without it: of an address, and of all
FIRST_LINE, LINE, PROOF, PER_ADDRESS, IN_ALL = 4096, 65536, 5.0, 16, 1000
#: bytes that somebody who does not read may let pile up
UNREAD = 4 * 1024 * 1024


def mac(token: bytes, *parts: Any) -> str:
    """A proof over parts that cannot be cut otherwise."""
    return hmac.new(token, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def encoded(message: Mapping[str, Any]) -> bytes:
    """A line."""
    return json.dumps(message).encode() + b"\n"


class Guest(asyncio.Protocol):
    """One connection. `name` and `incarnation` are those of a member that has come in."""

    def __init__(self, door: Door) -> None:
        self.door, self.nonce, self.name, self.incarnation = door, os.urandom(16).hex(), "", ""
        self._buffer, self._proved, self._counted = bytearray(), False, False
        self.address = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the word that the proof has to contain."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport, self.address = transport, str((transport.get_extra_info("peername") or ("?",))[0])
        if not self.door.admit(self.address):
            transport.abort()
            return
        self._counted = True
        self._timer = asyncio.get_event_loop().call_later(PROOF, transport.abort)
        self.put(encoded({"nonce": self.nonce}))

    def put(self, line: bytes) -> None:
        """Send a line; who lets too many of them lie is cut off."""
        if self.transport.get_write_buffer_size() > UNREAD:
            self.transport.abort()
        else:
            self.transport.write(line)

    def data_received(self, data: bytes) -> None:
        """Take it apart into lines."""
        self._buffer += data
        while not self.transport.is_closing():
            end = self._buffer.find(b"\n")
            limit = LINE if self._proved else FIRST_LINE
            if end > limit or (end < 0 and len(self._buffer) > limit):
                self.refuse(f"a line of more than {limit} bytes")
            if end < 0:
                return
            line = bytes(self._buffer[:end])
            del self._buffer[:end + 1]
            try:
                self._line(json.loads(line.decode()))
            except (ValueError, KeyError, TypeError, RecursionError):
                self.refuse("no message of a supervisor")

    def _line(self, message: Any) -> None:
        if self._proved:
            self.door.said(self, message)
            return
        run, name, incarnation, ask, nonce = (message[key] for key in ("run", "node", "incarnation", "ask", "nonce"))
        if not hmac.compare_digest(mac(self.door.token, "member", self.nonce, nonce, run, name, incarnation, ask), str(message["mac"])):
            self.door.strangers[self.address] += 1
            self.refuse("wrong token: a supervisor of another run, or of an earlier launch of this one")
            return
        self._proved = True
        self._let_go()
        self.put(encoded({"mac": mac(self.door.token, "hub", nonce, self.nonce)}))
        if ask is not None:
            self._answering = asyncio.ensure_future(self._answer(ask))
            return
        refused = self.door.joined(self, str(run), str(name), str(incarnation))
        if refused:
            self.refuse(refused)
        else:
            self.name, self.incarnation = name, incarnation

    async def _answer(self, ask: Any) -> None:
        try:
            answer = await self.door.asked(ask if isinstance(ask, dict) else {})
        except (ValueError, OSError, asyncio.TimeoutError) as error:
            answer = {"version": 1, "error": str(error)}
        self.put(encoded(answer))
        self.transport.close()

    def refuse(self, why: str) -> None:
        """Say why, and hang up."""
        self.put(encoded({"refused": why}))
        self.transport.close()

    def _let_go(self) -> None:
        if self._counted:
            self._counted = False
            self._timer.cancel()
            self.door.released(self.address)

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        self._let_go()
        if self.name:
            self.door.left(self)


class Door:
    """Listens on one address. What a supervisor does with its guests is in a class of its own: `Hub`, or `Local`."""

    def __init__(self, token: bytes) -> None:
        self.token = token
        self._waiting: collections.Counter[str] = collections.Counter()
        #: addresses that came with a wrong token, and how often
        self.strangers: collections.Counter[str] = collections.Counter()

    async def open(self, address: str, port: int) -> asyncio.AbstractServer:
        """Listen.

        Raises:
            ConfigError: the port cannot be had.
        """
        try:
            return await asyncio.get_event_loop().create_server(lambda: Guest(self), address, port, backlog=1024)
        except OSError as error:
            raise ConfigError(f"{address}:{port} cannot be listened on: {error.strerror or error}. Is another supervisor or program there (ss -ltnp), "
                              "is the address this node's own (cluster_address)?") from error

    def admit(self, address: str) -> bool:
        """Whether one more that has proved nothing is let in."""
        if self._waiting[address] >= PER_ADDRESS or sum(self._waiting.values()) >= IN_ALL:
            return False
        self._waiting[address] += 1
        return True

    def released(self, address: str) -> None:
        """One has proved itself, or gone."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]

    async def asked(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Answer one who asks."""
        raise NotImplementedError

    def joined(self, guest: Guest, run: str, name: str, incarnation: str) -> str:
        """Let a member in; or why not."""
        raise NotImplementedError

    def said(self, guest: Guest, message: Any) -> None:
        """A member's message."""
        raise NotImplementedError

    def left(self, guest: Guest) -> None:
        """A member's connection is closed."""
        raise NotImplementedError


class Local(Door):
    """The door of a node that is not the master: for those who ask, and cannot reach the hub."""

    def __init__(self, token: bytes, node: str, hub: str, answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
        super().__init__(token)
        self.node, self.hub, self._answer = node, hub, answer

    async def asked(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Answer by what the hub said last."""
        return await self._answer(ask)

    def joined(self, guest: Guest, run: str, name: str, incarnation: str) -> str:
        """Nobody joins here."""
        return f"{self.node} is not the master of this run: the hub is at {self.hub}"
