"""Faults as a table, and the run folders that they leave on every node.

A row (rows/*.yml) says which recorded words (pieces/*.txt) which rank printed, how many seconds before or after the moment of the
fault, and how it ended; from that this writes train.log, the ranks' own logs, the hook's records, the result file and the outcome of
each node, as torchrun and the launch script of that time would. Nothing here knows how the logs are read.

A row: ``nnodes`` (2), ``nproc`` (8), ``torch`` (2.1), ``offsets`` {node: seconds that its clock is ahead}, ``utc_hours`` of the logs' time zone,
``hook`` (ranks left records), ``iterations`` logged ([{of: 1-3}] without it), ``start: false`` (no rank came so far), ``tee`` (prefixes also in
the mixed layout), ``glued``, ``huge``, and ``nodes`` {name or others: ``outcome`` (failed), ``reason``, ``after`` (whom it was stopped for),
``ended`` (s), ``split`` (what is older is in train.log.1), ``launcher`` (missing, silent, cut, death) and what it ``holds``}.
Each of these: ``ranks`` (11, 8-11, a list, all, others: who has no exit yet, launcher, journal, older), ``piece``, ``at`` (s), ``step`` (s more
each rank), ``exit`` status, ``hangs`` instead of an exit, ``bare`` (before torch prefixes exceptions), ``out`` (stdout), ``times``, ``megabytes``,
``of`` (whose words a journal or older log tells).
"""
from __future__ import annotations

import hashlib
import json
import os
import random
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.faults import torchrun

HERE = Path(__file__).parent
#: the moment of the fault, by the controller's clock
T0 = 1764126432.0
TRAIN_ITERS = 20
UNCERTAINTY = 0.3
_RUN = "3f2c7a90"
_TIME = re.compile(r"\b[WEI]\d{4} (?=\d\d:\d\d:\d\d)|\[?\b\d{4}-\d\d-\d\d[ T_-]\d\d:\d\d:\d\d([.,]\d+)*Z?\]?|\bNov \d\d (?=\d\d:)|\b\d\d:\d\d:\d\d(\.\d+)*")
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))(?:: (.*))?$")


@dataclass(frozen=True)
class Expect:
    """The right words about a row.

    ``node`` is a name, or "" where nobody's fault can be told; ``nodes`` and ``causes`` hold every answer that is right (the first is
    ``node``, ``cause``); with "" among them no rank is right as well. ``ranks``: any of them is right ([]: the node alone, or unknown).
    ``say``: what the message must contain, whatever the case of letters; "a|b" is either. ``innocent``: names and global ranks that must not
    be blamed. ``mixed_tells``: what can be told where there is no ranks/: "all", the "node" but not the rank, or "nothing" (then "" is right).
    ``untimed_nodes``, ``untimed_ranks``: what is right besides where times are removed; it is not blamed wrongly then, though it is in ``innocent``.
    """

    node: str
    nodes: tuple[str, ...]
    ranks: tuple[int, ...]
    cause: str
    causes: tuple[str, ...]
    say: tuple[str, ...]
    innocent: tuple[str | int, ...]
    mixed_tells: str = "all"
    untimed_nodes: tuple[str, ...] = ()
    untimed_ranks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """A fault: ``nodes`` x ``ranks_per_node``; ``content`` is the table's own, read by `compose`."""

    name: str
    kind: str
    how: str
    source: str
    expect: Expect
    nodes: int
    ranks_per_node: int
    torch: str
    huge: bool
    content: dict[str, Any] = field(repr=False, compare=False, hash=False)


@dataclass(frozen=True)
class NodeRun:
    """What one node has, and what its follower saw; ``clock`` bounds the node's clock minus the controller's, in s.

    The folder of an unreachable node is empty: nothing of it can be read.
    """

    name: str
    node_rank: int
    folder: Path
    outcome: str
    reason: str
    ended_at: float
    clock: dict[str, float]


@dataclass
class _Block:
    """Text that came out at once; ``local`` is None for the launcher's own. Lines end where the process ended them."""

    at: float
    local: int | None
    stream: str
    lines: list[str]
    megabytes: int = 0


def held_out(name: str) -> bool:
    """Whether the row belongs to the third that nobody looks at while patterns are written."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 3 == 0


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


@cache
def rows() -> list[Row]:
    """The whole table."""
    table = []
    for path in sorted((HERE / "rows").glob("*.yml")):
        for item in yaml.safe_load(path.read_text(encoding="utf-8")):
            expect = item["expect"]
            nodes, causes, untimed = _tuple(expect["node"]), _tuple(expect["cause"]), expect.get("untimed", {})
            table.append(Row(
                name=item["name"], kind=item["kind"], how=item["how"], source=item["source"], nodes=item.get("nnodes", 2),
                ranks_per_node=item.get("nproc", 8), torch=str(item.get("torch", "2.1")), huge=item.get("huge", False), content=item,
                expect=Expect(nodes[0], nodes, tuple(expect["ranks"]), causes[0], causes, tuple(expect["say"]), tuple(expect.get("not", [])),
                              expect.get("mixed_tells", "all"), tuple(untimed.get("node", [])), tuple(untimed.get("ranks", [])))))
    return table


@cache
def piece(name: str) -> str:
    """Recorded words, as they are in the file."""
    return (HERE / "pieces" / f"{name}.txt").read_text(encoding="utf-8")


def _span(spec: Any, everybody: list[int]) -> list[int]:
    """Ranks of "all", 11, "8-11" or a list of these."""
    if spec == "all":
        return everybody
    if isinstance(spec, list):
        return [rank for part in spec for rank in _span(part, everybody)]
    first, _, last = str(spec).partition("-")
    return list(range(int(first), int(last or first) + 1))


class _Node:
    """One node of a row while it is written down."""

    def __init__(self, row: Row, rank: int) -> None:
        self.row, self.rank, self.name = row, rank, f"node{rank + 1}"
        nodes = row.content["nodes"]
        self.spec: dict[str, Any] = nodes.get(self.name, nodes.get("others")) or {}
        self.first = rank * row.ranks_per_node
        self.everybody = list(range(self.first, self.first + row.ranks_per_node))
        self.offset = float(row.content.get("offsets", {}).get(self.name, 0))
        self.zone = float(row.content.get("utc_hours", 0)) * 3600
        self.outcome = self.spec.get("outcome", "failed")
        self.blocks: list[_Block] = []
        self.exits: dict[int, tuple[float, int]] = {}
        self.records: dict[int, dict[str, Any]] = {}
        self.journal: list[str] = []
        self.old: list[_Block] = []
        for event in self.spec.get("holds", []):
            self._event(event)
        last = max([block.at for block in self.blocks] + [at for at, _ in self.exits.values()] + [0.0])
        self.ended = float(self.spec.get("ended", last + (3 if self.outcome == "failed" else 8)))
        self.silent = self.spec.get("launcher") == "silent"
        self.death = self.outcome == "stopped" or self.spec.get("launcher") == "death"
        other = self.spec.get("after", "")
        because = nodes.get(other, nodes.get("others", {})).get("reason", "torchrun exited 1")
        default = {"failed": "torchrun exited 1", "stopped": f"stopped after the failure of {other}: {because}",
                   "succeeded": f"{TRAIN_ITERS} iterations, 4 checkpoint shards of this node in /opt/ascend-cluster/ckpt",
                   "unreachable": "no answer for 300 s (pretrain_unreachable_timeout): ssh: connect to host port 22: Connection timed out"}
        self.reason = str(self.spec.get("reason", default[self.outcome]))

    def pid(self, rank: int | None) -> int:
        return 41000 + 100 * self.rank + (90 if rank is None else rank - self.first)

    def when(self, at: float) -> datetime:
        """The node's own wall clock."""
        return datetime.fromtimestamp(T0 + at + self.offset + self.zone, tz=timezone.utc)

    def fill(self, text: str, rank: int | None, at: float) -> list[str]:
        now = self.when(at)
        place = self.first if rank is None else rank
        # Whom a rank complains of: the culprit's node, or for want of one the next.
        lost = self.row.expect.node or self.name
        peer = (self.rank + 1) % self.row.nodes if lost == self.name else int(lost[4:]) - 1
        words = {"RANK": place, "LOCAL": place - self.first, "PID": self.pid(rank), "NODE": self.name, "WORLD": self.row.nodes * self.row.ranks_per_node,
                 "STAMPMS": now.strftime("%Y-%m-%d-%H:%M:%S.") + "167.645", "STAMP": now.strftime("%Y-%m-%d-%H:%M:%S"),
                 "WHEN": now.strftime("%Y-%m-%d %H:%M:%S"), "TIME": now.strftime("%H:%M:%S"), "GLOG": now.strftime("%m%d %H:%M:%S.") + "283465709", "CR": "\r",
                 "OWNIP": f"10.0.0.{11 + self.rank}", "PEERIP": f"10.0.0.{11 + peer}",
                 "LOST": (list(self.row.expect.ranks) or [peer * self.row.ranks_per_node])[0]}
        return re.sub("@([A-Z]+)@", lambda match: str(words[match[1]]), text).rstrip("\n").split("\n")

    def _event(self, event: dict[str, Any]) -> None:
        at, name = float(event.get("at", 0)), event.get("piece")
        who = event["ranks"]
        if who in ("launcher", "journal", "older"):
            lines = self.fill(piece(name), event.get("of"), at) * event.get("times", 1)
            if who == "journal":
                self.journal += lines
            else:
                (self.blocks if who == "launcher" else self.old).append(
                    _Block(at, event.get("of", self.first) - self.first if who == "older" else None, "stderr", lines))
            return
        named = set(self.exits)
        for rank in [rank for rank in self.everybody if rank not in named] if who == "others" else _span(who, self.everybody):
            moment = at + float(event.get("step", 0)) * (rank - self.first)
            status = event.get("exit")
            if name:
                lines = self.fill(piece(name), rank, moment)
                if (status or event.get("hangs")) and self.row.torch != "2.1" and not event.get("bare"):
                    begin = next((i for i, line in enumerate(lines) if line.startswith("Traceback")), len(lines))
                    text = lines[:begin] + [f"[rank{rank}]: {line}" for line in lines[begin:]]
                else:
                    text = lines
                self.blocks.append(_Block(moment, rank - self.first, "stdout" if event.get("out") else "stderr",
                                          text * event.get("times", 1), event.get("megabytes", 0)))
            if status is not None:
                self.exits[rank] = (moment, status)
            if self.row.content.get("hook") and (status in (0, 1) or event.get("hangs")):
                self.records[rank] = self._record(rank, moment, 0 if status == 0 else 1, lines if name else [])

    def _record(self, rank: int, at: float, status: int, lines: list[str]) -> dict[str, Any]:
        """What the hook in each rank writes."""
        record: dict[str, Any] = {"rank": rank, "local_rank": rank - self.first, "time": round(T0 + at + self.offset + 0.123456, 6), "kind": "exit",
                                  "type": "SystemExit", "message": "", "where": "", "status": status, "iteration": None}
        if status:
            trace = max((i for i, line in enumerate(lines) if line.startswith("Traceback")), default=0)
            found = next((i for i in range(trace, len(lines)) if _EXCEPTION.match(lines[i].rstrip("\r"))), None)
            where = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', "\n".join(lines[trace:]))
            if found is not None:
                match = _EXCEPTION.match(lines[found].rstrip("\r"))
                assert match
                record |= {"kind": "exception", "type": match[1], "message": "\n".join([match[2] or "", *lines[found + 1:]])}
            if where:
                record["where"] = f"{where[-1][0]}:{where[-1][1]} in {where[-1][2]}"
        return record

    def launcher(self) -> list[_Block]:
        """torchrun's and the launch script's own lines: at the start, and at the end."""
        mode = self.spec.get("launcher", "")
        begin = [f"pretrain: node {self.rank}/{self.row.nodes}, {self.row.ranks_per_node} ranks, master 10.0.0.11:6000, run {_RUN}"]
        found = [_Block(-70, None, "stderr", begin)]
        if mode != "missing":
            begin += torchrun.start(self.row.torch, self.pid(None), self.when(-70))
        if self.silent:
            return found
        ended = self.when(self.ended - 1)
        bad = [torchrun.Failure(rank, rank - self.first, self.pid(rank), status, at, self.when(at))
               for rank, (at, status) in sorted(self.exits.items()) if status]
        alive = [torchrun.Failure(rank, rank - self.first, self.pid(rank), -15, self.ended, ended) for rank in self.everybody if rank not in self.exits]
        lines: list[str] = []
        if self.death:
            lines = torchrun.stopped(self.row.torch, self.pid(None), ended, alive)
        elif bad and mode != "cut":
            lines = torchrun.summary(self.row.torch, self.pid(None), ended, self.name, bad, alive)
        state = "succeeded" if self.outcome == "succeeded" else "FAILED"
        told = "stopped by SIGTERM" if self.death else self.reason
        return [*found, _Block(self.ended - 0.5, None, "stderr", [*lines, f"pretrain: node {self.rank}: {state}: {told}"])]

    def start(self) -> list[_Block]:
        """What every run prints before anything is wrong, and the iterations, which the last rank prints."""
        if self.row.content.get("start") is False:
            return []
        found = [_Block(-60, rank - self.first, "stderr", self.fill(piece("start"), rank, -60)) for rank in self.everybody]
        if self.rank == 0:
            found.append(_Block(-58, 0, "stdout", self.fill(piece("start_rank0"), 0, -58)))
        if self.rank == self.row.nodes - 1:
            wanted = self.row.content.get("iterations", [{"of": "1-3"}])
            numbers = [(number, part) for part in wanted for number in _span(part["of"], [])]
            for place, (number, part) in enumerate(numbers):
                at = -2.0 - 2 * (len(numbers) - place) if len(numbers) < 25 else -2.0
                found.append(_Block(at, self.row.ranks_per_node - 1, "stdout", [self._iteration(number, at, part)]))
        return found

    def _iteration(self, number: int, at: float, part: dict[str, Any]) -> str:
        loss = part.get("loss", f"{10.5 - 0.2 * number:.6E}")
        return (f" [{self.when(at).strftime('%Y-%m-%d %H:%M:%S')}] iteration {number:8d}/{TRAIN_ITERS:8d} | consumed samples: {number * 128:12d} | "
                f"elapsed time per iteration (ms): 2034.5 | learning rate: 1.250E-07 | global batch size:   128 | "
                + (f"lm loss: {loss} | " if loss is not None else "") +
                f"loss scale: {part.get('scale', '1.0')} | " + (f"grad norm: {part.get('norm', '3.512')} | " if part.get("norm", "") is not None else "") +
                f"number of skipped iterations: {part.get('skipped', 0):3d} | number of nan iterations: {part.get('nan', 0):3d} |")


def _timeless(line: str) -> str:
    return _TIME.sub("", line)


def _merge(blocks: list[_Block], seed: int | None, glued: bool) -> list[tuple[int | None, str, int]]:
    """All lines of a node in one order: (local rank, line, megabytes). Each source's own order stays."""
    order = sorted(range(len(blocks)), key=lambda i: (blocks[i].at, i))
    if seed is None and not glued:
        return [(blocks[i].local, line, blocks[i].megabytes) for i in order for line in blocks[i].lines]
    chance = random.Random(seed)
    result: list[tuple[int | None, str, int]] = []
    group: dict[int, list[tuple[int | None, str, int]]] = {}

    def pour() -> None:
        sources = list(group.values())
        while sources:
            source = chance.choice(sources) if seed is not None else sources[0]
            # Whoever writes gets a few lines out at once; in a glued log everybody takes turns.
            for _ in range(chance.randint(1, 4) if seed is not None else 1):
                if source:
                    result.append(source.pop(0))
            sources = [other for other in sources if other] if seed is not None else [other for other in [*sources[1:], sources[0]] if other]
        group.clear()

    before = None
    for i in order:
        block = blocks[i]
        if glued and before is not None and block.at > before + 1:
            pour()
        before = block.at
        lines = [(block.local, line, block.megabytes) for line in block.lines]
        if block.local is None:
            pour()
            result += lines
        else:
            group.setdefault(block.local, []).extend(lines)
    pour()
    return result


def compose(row: Row, folder: Path, *, shuffle: int | None = None, times: bool = True, layout: str = "ranks") -> list[NodeRun]:
    """Write the run folders of all nodes below ``folder``.

    Args:
        row: the fault.
        folder: where the nodes' folders go, one each.
        shuffle: a seed: another order of the ranks' lines in train.log, and of the nodes in the result.
        times: False takes every moment away: from lines, records, results and files.
        layout: "ranks" as the launch script keeps them now, "mixed" as by hand or before: train.log alone, no ranks/, no records.
    """
    found = []
    for rank in range(row.nodes):
        node = _Node(row, rank)
        place = Path(folder) / node.name
        place.mkdir(parents=True)
        found.append(NodeRun(node.name, rank, place, node.outcome, node.reason, T0 + node.ended + node.offset if times else 0.0,
                             {"low": node.offset - UNCERTAINTY, "high": node.offset + UNCERTAINTY}))
        if node.outcome == "unreachable":
            continue
        blocks = node.start() + node.blocks + node.launcher()
        ranks = layout == "ranks"
        _write_train_log(node, place, blocks, shuffle, times, prefixed=ranks or bool(row.content.get("tee")))
        if ranks:
            _write_ranks(node, place, blocks, times)
        if not node.silent:
            last = max((int(match) for block in blocks for line in block.lines for match in re.findall(r"iteration +(\d+)/", line)), default="")
            status = "stopped" if node.death else node.outcome
            reason = "stopped by SIGTERM" if status == "stopped" else node.reason
            finished = node.when(node.ended - node.zone).strftime("%Y-%m-%dT%H:%M:%SZ") if times else ""
            (place / "result").write_text(f"status={status}\nreason={reason}\nlast_iteration={last}\nfinished={finished}\n", encoding="utf-8")
        if node.journal:
            (place / "journal.txt").write_text("".join(_shown(line, times) + "\n" for line in node.journal), encoding="utf-8")
        stamp = T0 + node.ended + node.offset if times else T0
        for path in place.rglob("*"):
            if not times or path.name in ("result", "journal.txt", "train.log"):
                os.utime(path, (stamp, stamp))
    if shuffle is not None:
        random.Random(shuffle).shuffle(found)
    return found


def _shown(line: str, times: bool) -> str:
    return line if times else _timeless(line)


def _write_train_log(node: _Node, place: Path, blocks: list[_Block], shuffle: int | None, times: bool, prefixed: bool) -> None:
    glued = bool(node.row.content.get("glued"))
    split = node.spec.get("split")
    parts = [("train.log", blocks)] if split is None else [
        ("train.log.1", [block for block in blocks if block.at <= split]), ("train.log", [block for block in blocks if block.at > split])]
    if node.old:
        parts.append(("train.20251126T020000Z.log", node.old))
    for name, part in parts:
        with (place / name).open("w", encoding="utf-8", newline="") as log:
            before: int | None = None
            hanging = False
            for local, line, megabytes in _merge(part, shuffle, glued):
                text = (f"[default{local}]:" if prefixed and local is not None else "") + _shown(line, times)
                if megabytes:
                    _repeat(log, text + "\n", megabytes)
                    continue
                # Two writers, and the end of the line of the first comes after the second's words.
                hanging = glued and not hanging and local is not None and before is not None and line.startswith(("RuntimeError", "Traceback", "ValueError"))
                log.write(text + ("" if hanging else "\n"))
                before = local


def _repeat(log: Any, text: str, megabytes: int) -> None:
    chunk = text * max(1, 2**20 // len(text))
    for _ in range(megabytes):
        log.write(chunk)


def _write_ranks(node: _Node, place: Path, blocks: list[_Block], times: bool) -> None:
    base = place / "ranks" / "none_k2m1x0" / "attempt_0"
    for rank in node.everybody:
        local = rank - node.first
        (base / str(local)).mkdir(parents=True)
        for stream in ("stdout", "stderr"):
            path = base / str(local) / f"{stream}.log"
            own = sorted((block for block in blocks if block.local == local and block.stream == stream), key=lambda block: block.at)
            with path.open("w", encoding="utf-8", newline="") as log:
                for block in own:
                    for line in block.lines:
                        if block.megabytes:
                            _repeat(log, _shown(line, times) + "\n", block.megabytes // len(block.lines) or 1)
                        else:
                            log.write(_shown(line, times) + "\n")
            moment = T0 + node.offset + (own[-1].at if own else -70)
            os.utime(path, (moment, moment))
    for rank, record in node.records.items():
        (place / "failures").mkdir(exist_ok=True)
        (place / "failures" / f"rank{rank}.json").write_text(json.dumps(record if times else {**record, "time": 0.0}), encoding="utf-8")
