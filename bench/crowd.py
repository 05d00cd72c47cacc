"""A hub with very many members: `hub` is a process of its own, its members are connections of this one.

Started as `python -m bench.crowd CONFIG`, this is the hub.
"""
from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from supervise import config as config_file
from supervise import link
from supervise.door import encoded
from supervise.hub import Hub

BEAT = 2.0


@dataclasses.dataclass(frozen=True)
class Crowd:
    """What was measured.

    Attributes:
        members: how many.
        come: seconds until all were let in and told to start.
        cpu: of one processor, that the hub took for their beats.
        memory: bytes of the hub, resident.
        woken: seconds from a failure's report to the last member that heard of the stop; and the median.
        asked: seconds of a question for the status, brief, median; `full` likewise.
        brief: bytes of the answers.
    """

    members: int
    come: float
    cpu: float
    memory: int
    woken: tuple[float, float]
    asked: float
    asked_full: float
    brief: int
    full: int


async def hub(path: str) -> None:
    """Serve until killed."""
    config = config_file.load(path)
    meeting = Hub(config, config.token(), "bench")
    await meeting.open(config.address, config.port)
    await meeting.run()


def used(pid: int) -> float:
    """Seconds of processor that a process has taken."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Member:
    """One connection that beats."""

    def __init__(self, config: config_file.Config, number: int) -> None:
        # Addresses of their own, as in a cluster: the hub lets 16 in at a time from each.
        self.config = dataclasses.replace(config, node=config.nodes[number], address=f"127.77.{number // 250}.{1 + number % 250}")
        self.report: dict[str, Any] = {"generation": -1, "phase": "preparing", "seen": 0, "epoch": ""}
        self.view: dict[str, Any] = {}
        self.heard = asyncio.Event()
        self.stopped_at = 0.0

    async def run(self, token: bytes, late: float) -> None:
        """Come in, get ready, run, stop."""
        await asyncio.sleep(late)
        reader, writer = await link.connect(self.config, token, self.config.hub, self.config.node, "bench")
        self.writer = writer
        self.put()
        beats = asyncio.ensure_future(self._beat())
        try:
            while True:
                self.view = await link.read(reader, 600)
                before = self.report["phase"]
                if self.view["phase"] == "forming":
                    self.report.update(generation=self.view["generation"], phase="ready")
                elif self.view["phase"] == "running":
                    self.report["phase"] = "running"
                elif self.view["phase"] == "stopping" and not self.stopped_at:
                    self.stopped_at = time.monotonic()
                self.report.update(seen=self.view["v"], epoch=self.view["epoch"])
                if self.report["phase"] != before:
                    self.put()
        finally:
            beats.cancel()
            writer.close()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self.put()

    def put(self) -> None:
        """Say how it stands."""
        self.writer.write(encoded(self.report))


async def _until(condition: Any, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the members did not come to where they should")
        await asyncio.sleep(0.005)


async def measure(config: config_file.Config, pid: int, seconds: float) -> Crowd:
    """Let all come in, beat for so long, fail one, and ask."""
    token = config.token()
    members = [Member(config, number) for number in range(len(config.nodes))]
    begun = time.monotonic()
    running = [asyncio.ensure_future(one.run(token, BEAT * number / len(members))) for number, one in enumerate(members)]
    try:
        await _until(lambda: all(one.report["phase"] == "running" for one in members))
        come = time.monotonic() - begun
        await asyncio.sleep(BEAT)
        before, since = used(pid), time.monotonic()
        await asyncio.sleep(seconds)
        cpu = (used(pid) - before) / (time.monotonic() - since)
        answers = {}
        for full in (False, True):
            took = []
            for _ in range(10):
                start = time.monotonic()
                answer = await link.question(config, token, config.hub, {"what": "status", "full": full})
                took.append(time.monotonic() - start)
            answers[full] = statistics.median(took), len(json.dumps(answer))
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        failed = members[len(members) // 2]
        failed.report["failed"] = {"rank": 0, "reason": "planned"}
        start = time.monotonic()
        failed.put()
        await _until(lambda: all(one.stopped_at for one in members))
        woken = [one.stopped_at - start for one in members]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return Crowd(len(members), come, cpu, resident, (max(woken), statistics.median(woken)), answers[False][0], answers[True][0],
                 answers[False][1], answers[True][1])


def crowd(folder: Path, python: str, count: int, port: int, token: str, seconds: float) -> Crowd:
    """Measure so many members."""
    folder.mkdir()
    (folder / "supervise").mkdir()
    file = folder / "token"
    file.write_text(token)
    file.chmod(0o600)
    path = folder / "config.json"
    path.write_text(json.dumps({
        "version": 1, "run": f"crowd{count}", "node": "n0", "nodes": [f"n{number}" for number in range(count)], "address": "127.0.0.1", "hub": "127.0.0.1",
        "port": port, "master_port": 6000, "token_file": str(file), "run_dir": str(folder), "command": ["true"], "times": {"lost": 60}}))
    process = subprocess.Popen([python, "-m", "bench.crowd", str(path)])
    try:
        config = config_file.load(str(path))
        for _ in range(600):
            with contextlib.suppress(*link.FAILURES):
                asyncio.run(link.question(config, token.encode(), "127.0.0.1", {"what": "status"}))
                break
            time.sleep(0.1)
        return asyncio.run(measure(config, process.pid, seconds))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(hub(sys.argv[1]))
