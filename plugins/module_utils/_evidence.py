"""What a run's logs on one node tell of its end: evidence with a role, by rank, in bounded time and memory.

Runs on the node (Python 3.8, standard library). Read are, below the run's folder: ``ranks/*/attempt_*/<local rank>/std*.log`` (each rank's
own words, by torchrun's --redirects), ``failures/rank*.json`` (the hook `failures`), and ``train.log`` (torchrun's own words and its
tee of all ranks; where there are no ranks/, everything is in it). Older tries (``train.<stamp>.log``) are not read.
"""
from __future__ import annotations

import functools
import glob
import json
import math
import os
import re
from typing import Any, Mapping, NamedTuple, Sequence

from . import _fault_codes, _log_lines
from ._fault_patterns import FRAMES, PATTERNS

#: characters of a line that are kept
_QUOTED = 400
#: different lines that are kept of a rank, and of a node
_KEPT = 24
_CONTEXT = 14
_TAIL = 20
_RECORD_BYTES = 64 * 1024
_BLOCK = 4 * 1024 * 1024

_ROLES = ("cause", "pointer", "cascade", "confirmation", "noise")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Timeout|StopIteration)(?::\s|$)")
_ITERATION = re.compile(rb"iteration +\d+/")
_COMPILED = tuple((row, row.anchor.split("|"), re.compile(row.expression)) for row in PATTERNS)

_SUMMARY = re.compile(r"^\s*(time|rank|exitcode|traceback) +: (.*)")
_FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+) \(pid: (\d+)\)")
_CLOSED = re.compile(r"Sending process (\d+) closing signal")
_SAYS_RANK = re.compile(r"RankID:(\d+)|\b[Rr]ank (\d+): found")
_SAYS_DEVICE = re.compile(r"\(NPU (\d+);|\bDevice:(\d+)\b|\bdevId=(\d+)|\bdevice[_ ]id[=:]\s?(\d+)")
_SAYS_PID = re.compile(r"\bPID:\s?(\d+)|\(pid:? (\d+)\)")

#: libraries try imports and go on without
_OFTEN_CAUGHT = ("import_error",)

#: literals of which every line of interest holds one, besides the vendor's codes
INTEREST = tuple(sorted({anchor for _, anchors, _ in _COMPILED for anchor in anchors} | {
    "Error", "Exception", "Interrupt", "StopIteration", "rank      : ", "exitcode  : ", "time      : ", "Root Cause",
    "failed (exitcode", "error code", "runtime result ="}))
CODES = "E([1-9A-Z][0-9]{4}|RR[0-9]{5})"


class Meaning(NamedTuple):
    """What a line says, whoever said it."""

    role: str
    cause: str
    #: the vendor's code in it, or ""
    code: str
    #: an exception that says nothing by its words: it is a cause only as the last thing that a process raised
    generic: bool
    #: (address, device) that a pointer names
    points: tuple[str, int] | None


@functools.lru_cache(maxsize=8192)
def meaning(text: str) -> Meaning | None:
    """What a line says by the tables; None when it says nothing of a fault."""
    found: list[Meaning] = []
    for row, anchors, expression in _COMPILED:
        match = expression.search(text) if any(anchor in text for anchor in anchors) else None
        if match:
            if row.role == "noise":
                return Meaning("noise", "", "", False, None)
            points = (str(match.group(1)), int(match.group(2))) if row.role == "pointer" else None
            found.append(Meaning(row.role, row.cause, "", row.cause in _OFTEN_CAUGHT, points))
            break
    for code in _fault_codes.CODE.findall(text) + _fault_codes.RETURN_CODE.findall(text):
        known = _fault_codes.find(code)
        found.append(Meaning(known.role if known else "confirmation", known.cause if known else "", code, False, None))
    if not found:
        return Meaning("cause", "python_exception", "", True, None) if _EXCEPTION.match(text) else None
    best = min(found, key=lambda item: _ROLES.index(item.role))
    return best._replace(code=best.code or next((item.code for item in found if item.code), ""))


def is_exception(text: str) -> bool:
    """Whether a line is the last one of a traceback, or what() of C++."""
    return bool(_EXCEPTION.match(text)) or text.startswith("what():")


def place_of(frames: Sequence[str]) -> str:
    """The cause that the frames of an exception tell where its words do not: "" when they tell none either."""
    text = "\n".join(frames)
    return next((cause for cause, expression in FRAMES if re.search(expression, text)), "")


class _Rank:
    """What is known of one rank, or of a node where the rank is not told."""

    def __init__(self) -> None:
        self.findings: dict[tuple[str, str, str], dict[str, Any]] = {}

    def add(self, path: str, offset: int, text: str, what: Meaning) -> None:
        key = (what.role, what.cause, re.sub(r"\d+", "0", text[:160]))
        kept = self.findings.get(key)
        if kept is not None:
            kept["count"] += 1
            kept["last_offset"] = offset
        elif len(self.findings) < _KEPT:
            self.findings[key] = {
                "role": what.role, "cause": what.cause, "code": what.code, "generic": what.generic,
                "points": list(what.points) if what.points else None, "line": text.strip()[:_QUOTED], "at": _log_lines.moment(text),
                "file": path, "offset": offset, "last_offset": offset, "count": 1}


def _attributed(text: str, local_ranks: dict[int, int], first: int, nproc: int) -> int | None:
    """Global rank that a line without a mark names by itself: RankID, device, or a pid that torchrun listed."""
    for pattern, offset in ((_SAYS_RANK, 0), (_SAYS_DEVICE, first)):
        match = pattern.search(text)
        if match:
            number = int(next(word for word in match.groups() if word is not None)) + offset
            return number if first <= number < first + nproc else None
    match = _SAYS_PID.search(text)
    return local_ranks.get(int(match.group(1) or match.group(2))) if match else None


class Collector:
    """Reads the logs of one node's part of a run."""

    def __init__(self, folder: str, node_rank: int, nproc_per_node: int, seconds: float = 60.0) -> None:
        self.folder, self.first, self.nproc = folder, node_rank * nproc_per_node, nproc_per_node
        self.reading = _log_lines.Reading(INTEREST, CODES, seconds)
        self.ranks: dict[int | None, _Rank] = {}
        self.exits: dict[int, dict[str, Any]] = {}
        self.first_observed: int | None = None
        self.pids: dict[int, int] = {}
        #: pids that torchrun ended itself after the first failure: torch 2.13 lists them beside those that failed
        self.closed: set[int] = set()

    def _file(self, path: str, rank: int | None = None) -> None:
        """Read one log: a rank's own, or the node's, which holds all ranks and torchrun's summary."""
        entry: dict[str, Any] = {}
        root = False
        for line in self.reading.lines(path):
            if rank is None:
                root = root or "Root Cause (first observed failure)" in line.text
                self._summary(line.text, entry, root)
            for part in _log_lines.parts(line.text):
                what = meaning(part.text.strip()) if len(part.text) < 4096 else meaning(part.text[:4096].strip())
                if what is None or what.role == "noise":
                    continue
                whose = rank
                if rank is None:
                    whose = {"default": self.first + part.number, "rank": part.number}.get(part.kind)
                    if whose is None:
                        whose = _attributed(part.text, self.pids, self.first, self.nproc)
                elif part.kind == "rank" and part.number != rank:
                    continue
                self.ranks.setdefault(whose, _Rank()).add(path, line.offset, part.text, what)

    def _summary(self, text: str, entry: dict[str, Any], root: bool) -> None:
        """Take a line of torchrun's summary, which tells of each failed rank its exit code, signal and time."""
        closed = _CLOSED.search(text)
        if closed:
            self.closed.add(int(closed.group(1)))
            return
        failed = _FAILED.search(text)
        if failed:
            rank = self.first + int(failed.group(2))
            self.pids[int(failed.group(3))] = rank
            self.exits.setdefault(rank, {"code": int(failed.group(1)), "pid": int(failed.group(3)), "at": None})
            self.first_observed = rank if self.first_observed is None else self.first_observed
            return
        match = _SUMMARY.match(text)
        if not match:
            return
        name, value = match.groups()
        if name == "time":
            entry.clear()
            entry["at"] = _log_lines.moment(value)
        elif name == "rank" and re.match(r"\d+ \(local_rank: \d+\)", value):
            entry["rank"] = int(value.split()[0])
        elif name == "exitcode" and "rank" in entry:
            code = re.match(r"(-?\d+)\s+\(pid: (\d+)\)", value)
            if code:
                at = entry.get("at")
                # torchrun looks at its workers every 5 s (2.1) or oftener.
                self.exits[entry["rank"]] = {"code": int(code.group(1)), "pid": int(code.group(2)), "at": [at[0] - 6.0, at[1]] if at else None}
                self.pids[int(code.group(2))] = entry["rank"]
                if root:
                    self.first_observed = entry["rank"]

    def _records(self) -> dict[int, dict[str, Any]]:
        """What the hook `failures` of each rank wrote, by rank."""
        found = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "failures", "rank*.json"))):
            try:
                with open(path, "rb") as file:
                    record = json.loads(file.read(_RECORD_BYTES).decode("utf-8", "replace"))
                rank, moment = int(record["rank"]), float(record["time"])
            except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if math.isfinite(moment) and self.first <= rank < self.first + self.nproc:
                found[rank] = {"kind": str(record.get("kind", "")), "type": str(record.get("type", "")), "message": str(record.get("message", "")),
                               "where": str(record.get("where", "")), "status": record.get("status"), "at": [moment, moment], "file": path}
        return found

    def collect(self, kernel_log: str = "", unit_log: str = "") -> dict[str, Any]:
        """Read everything and return the evidence.

        Args:
            kernel_log: lines of the kernel since the run began.
            unit_log: the journal of the run's unit, for a script that ended without a word in its own log.

        Returns:
            ``ranks``: of each global rank (as text) ``findings``, ``exit`` (torchrun's ``code``, ``pid`` and ``at``) and ``record``; ``node``:
            findings whose rank is not told; ``journal``: findings of the kernel and of systemd; ``tail``: the last lines;
            ``first_observed``: the rank that torchrun names first, or None; ``searched`` and ``left_out``: bytes. A finding has ``role``,
            ``cause``, ``code``, ``line``, ``at`` (earliest and latest moment by the node's clock, or None), ``file``, ``context`` (lines
            before it), ``count``, ``generic`` and ``points``.
        """
        main = os.path.join(self.folder, "train.log")
        own: dict[int, list[str]] = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "ranks", "*", "attempt_*", "*", "std*.log"))):
            local = os.path.basename(os.path.dirname(path))
            if local.isdigit() and int(local) < self.nproc:
                own.setdefault(self.first + int(local), []).append(path)
        # torchrun's summary first: it knows the pids.
        copies = sorted(glob.glob(glob.escape(main) + ".[0-9]*"), reverse=True)
        for path in [*copies, main]:
            self._file(path)
        if own:
            # The tee says again what the ranks' own logs say; what it says of no rank is torchrun's own.
            self.ranks = {None: self.ranks[None]} if None in self.ranks else {}
            for rank, paths in own.items():
                for path in paths:
                    self._file(path, rank)
        # Alive when torchrun ended them, whatever they left with (SIGKILL after its grace time).
        self.exits = {rank: item for rank, item in self.exits.items() if item["pid"] not in self.closed}
        records = self._records()
        ranks = {}
        for rank in sorted({*[one for one in self.ranks if one is not None], *self.exits, *records}):
            findings = _fatal(self.ranks[rank].findings.values(), True) if rank in self.ranks else []
            if findings or rank in self.exits or rank in records:
                ranks[str(rank)] = {"findings": findings, "exit": self.exits.get(rank), "record": records.get(rank)}
        found = {"ranks": ranks, "node": _fatal(self.ranks[None].findings.values(), bool(own)) if None in self.ranks else [],
                 "first_observed": self.first_observed, "searched": self.reading.read, "left_out": self.reading.skipped,
                 "tail": _log_lines.last_lines(main, _TAIL) if os.path.exists(os.path.join(self.folder, "result")) else []}
        return with_journals(found, kernel_log, unit_log)


def with_journals(found: Mapping[str, Any], kernel_log: str, unit_log: str) -> dict[str, Any]:
    """Add to what the logs told (:meth:`Collector.collect`) what the journals of the kernel and of the unit tell."""
    kernel = _Rank()
    for text in (kernel_log + unit_log).splitlines():
        what = meaning(text)
        if what is not None and what.role == "cause" and what.cause in ("host_out_of_memory", "device_error"):
            kernel.add("journal", 0, text, what)
    return {**found, "journal": [_told(item) for item in kernel.findings.values()], "tail": found["tail"] or unit_log.splitlines()[-_TAIL:]}


def _goes_on(path: str, offset: int) -> bool:
    """Whether at least two iterations were logged after a byte of a log: what stands before it ended nothing."""
    seen, rest = 0, b""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while seen < 2:
                block = file.read(_BLOCK)
                if not block:
                    return False
                data = rest + block
                whole = data.rfind(b"\n") + 1
                rest = data[whole:][-_log_lines.LONGEST:]
                seen += sum(1 for _ in _ITERATION.finditer(data[:whole]))
    except OSError:
        return False
    return True


def _told(item: dict[str, Any]) -> dict[str, Any]:
    """A finding as it is told: with the lines before it, without what only the reading needed."""
    context = _log_lines.before(item["file"], item["offset"], _CONTEXT) if item["role"] == "cause" and item["file"] != "journal" else []
    starts = [place for place, line in enumerate(context) if "Traceback (most recent call last)" in line]
    if starts:
        context = context[starts[-1]:]
    kept = {name: value for name, value in item.items() if name not in ("offset", "last_offset")}
    return {**kept, "context": [line[:_QUOTED] for line in context]}


def _fatal(findings: Any, one_process: bool) -> list[dict[str, Any]]:
    """Findings in the order of the log, without those after which the training went on.

    Of exceptions of one process that no row knows only the last one of a file counts, and only where no lost peer came after it:
    an earlier one was caught and printed.
    """
    kept = sorted((item for item in findings if not _goes_on(item["file"], item["last_offset"])), key=lambda item: (item["file"], item["offset"]))
    told = []
    for item in kept:
        later = [other for other in kept if other["file"] == item["file"] and other["last_offset"] > item["last_offset"]
                 and (other["generic"] or other["role"] in ("cascade", "pointer"))]
        if not (one_process and item["generic"] and later):
            told.append(_told(item))
    return told
