"""A connection to a supervisor's door, from the other side: for a question, or a member's for as long as it lives."""
from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
from typing import Any, Callable, Mapping

from supervise.config import Config
from supervise.door import encoded, mac

TIMEOUT = 5.0
LIMIT = 64 * 1024 * 1024
BACK = {"back": True}
FAILURES = (OSError, asyncio.TimeoutError, ValueError, KeyError, TypeError)


class Refused(ConnectionError):
    """The other side hung up and said why."""


async def read(reader: asyncio.StreamReader, seconds: float) -> dict[str, Any]:
    """A message.

    Raises:
        ConnectionError: closed, or refused.
    """
    line = await asyncio.wait_for(reader.readline(), seconds)
    if not line.endswith(b"\n"):
        raise ConnectionError("the connection was closed")
    message = json.loads(line.decode())
    if "refused" in message:
        raise Refused(message["refused"])
    return dict(message)


async def connect(config: Config, token: bytes, address: str, node: str = "", incarnation: str = "",
                  ask: Mapping[str, Any] | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Come in, from this node's own address.

    Raises:
        ConnectionError, OSError, asyncio.TimeoutError: it was not possible.
    """
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(address, config.port, limit=LIMIT, local_addr=(config.address, 0)), TIMEOUT)
    try:
        nonce, theirs = os.urandom(16).hex(), (await read(reader, TIMEOUT))["nonce"]
        writer.write(encoded({"run": config.run, "node": node, "incarnation": incarnation, "ask": ask, "nonce": nonce,
                              "mac": mac(token, "member", theirs, nonce, config.run, node, incarnation, ask)}))
        answer = await read(reader, TIMEOUT)
        if not hmac.compare_digest(str(answer.get("mac", "")), mac(token, "hub", nonce, theirs)):
            raise ConnectionError(f"who listens on {address}:{config.port} does not know the token of this run")
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def question(config: Config, token: bytes, address: str, ask: Mapping[str, Any]) -> dict[str, Any]:
    """Ask once."""
    reader, writer = await connect(config, token, address, ask=ask)
    try:
        return await read(reader, 4 * TIMEOUT)
    finally:
        writer.close()


class Link:
    """A member's connection to the hub: a report every beat and whenever `changed` is set; each is answered by the view."""

    def __init__(self, config: Config, token: bytes, incarnation: str, compose: Callable[[bool], Mapping[str, Any]],
                 heard: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> None:
        self.config, self.token, self.incarnation = config, token, incarnation
        self._compose, self._heard, self._say = compose, heard, say
        self.changed = asyncio.Event()
        #: why the hub refused this supervisor before it ever let it in
        self.refused = ""
        self._joined, self._said = False, ""

    async def keep(self) -> None:
        """Call, and call again."""
        wait = 0.2
        while True:
            try:
                reader, writer = await connect(self.config, self.token, self.config.hub, self.config.node, self.incarnation)
                wait = 0.2
                sender = asyncio.ensure_future(self._send(writer))
                try:
                    while True:
                        view = await read(reader, max(3 * self.config.times.beat + 1, self.config.times.lost / 2))
                        self._joined, self._said = True, ""
                        self._heard(view)
                except asyncio.CancelledError:
                    writer.write(encoded(self._compose(False)))  # that it has heard the end
                    raise
                finally:
                    sender.cancel()
                    # Only a supervisor that dies says nothing before its connection closes. The hub closes it then; were it closed here at once, what
                    # lies unread in it would turn the end into a reset, which may overtake the words.
                    writer.write(encoded(BACK))
                    asyncio.get_event_loop().call_later(1.0, writer.close)
            except FAILURES as error:
                words = f"no hub at {self.config.hub}:{self.config.port}: {error or type(error).__name__}"
                if isinstance(error, Refused) and not self._joined and "another supervisor" not in str(error):
                    self.refused = str(error)
                if words != self._said:
                    self._said = words
                    self._say(words)
            # Not all at once, when the hub is back.
            await asyncio.sleep(wait * (0.5 + secrets.randbelow(1000) / 1000))
            wait = min(wait * 2, 5.0)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        first = True
        while True:
            self.changed.clear()
            writer.write(encoded(self._compose(first)))
            first = False
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changed.wait(), self.config.times.beat)
