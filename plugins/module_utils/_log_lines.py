"""Lines of training logs: read in bounded memory and time, cut into what each rank said, and dated.

Runs on the nodes (Python 3.8, standard library). A log may hold gigabytes, carriage returns of progress bars, several ranks'
words in one line, and lines without an end.
"""
from __future__ import annotations

import re
import time
from typing import Callable, Iterator, NamedTuple, Optional, Pattern, Tuple

BLOCK = 4 * 1024 * 1024
#: A longer line is cut: nothing that a person reads is longer.
LONGEST = 16 * 1024
#: What is left to read when the time is up is left out but for the end.
LAST_PART = 64 * 1024 * 1024

#: torchrun's tee marks a line by the local rank ([default3]:), torch's own excepthook by the global one ([rank11]:).
_MARK = re.compile(r"\[(default|rank)(\d+)\]:[ ]?")
_BREAK = re.compile(rb"[\r\n]+")

_STAMPS = (
    # CANN, HCCL and torch_npu: 2025-04-08-18:07:20.444.436
    re.compile(r"(\d{4})-(\d\d)-(\d\d)-(\d\d):(\d\d):(\d\d)(?:\.(\d{3})(?:\.\d{3})?)?"),
    # Python's logging, Megatron's iterations, torchrun's summary (2025-02-20_09:11:02)
    re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T_](\d\d):(\d\d):(\d\d)(?:[.,](\d{3}))?"),
)

#: Earliest and latest moment, seconds since 1970 by the node's clock.
Moment = Tuple[float, float]


class Part(NamedTuple):
    """What one rank said in a line."""

    #: "default" (a local rank), "rank" (a global one) or "" where the line does not tell
    kind: str
    number: int
    text: str


class Line(NamedTuple):
    """A line that is of interest, and the byte at which it begins."""

    offset: int
    text: str


class Reading:
    """Which lines of a file are of interest, within a deadline; counts what was read and what was left out."""

    def __init__(self, interest: Pattern[bytes], deadline: float = float("inf"), clock: Callable[[], float] = time.monotonic) -> None:
        self.interest, self.deadline, self.clock = interest, deadline, clock
        self.read = self.skipped = 0

    def lines(self, path: str) -> Iterator[Line]:
        """Lines in which `interest` is found, in order. A file that cannot be read has none.

        After the deadline only the last `LAST_PART` bytes of each file are read.
        """
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                at, rest = 0, b""
                while True:
                    if self.clock() > self.deadline and size - at > LAST_PART:
                        self.skipped += size - LAST_PART - at
                        at, rest = size - LAST_PART, b""
                        file.seek(at)
                    block = file.read(BLOCK)
                    if not block:
                        break
                    self.read += len(block)
                    whole = rest + block
                    start = at - len(rest)
                    at += len(block)
                    end = max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1
                    if not end:
                        # Without an end in sight its beginning has to do.
                        rest = whole[:LONGEST] if len(whole) > BLOCK else whole
                        continue
                    rest = whole[end:][:LONGEST]
                    for line in self._found(whole[:end]):
                        yield Line(start + line.offset, line.text)
                if rest:
                    for line in self._found(rest):
                        yield Line(at - len(rest) + line.offset, line.text)
        except OSError:
            return

    def _found(self, data: bytes) -> Iterator[Line]:
        done = 0
        for match in self.interest.finditer(data):
            if match.start() < done:
                continue
            start = max(data.rfind(b"\n", 0, match.start()), data.rfind(b"\r", 0, match.start())) + 1
            stop = _BREAK.search(data, match.end())
            done = stop.end() if stop else len(data)
            text = data[start:stop.start() if stop else len(data)][:LONGEST]
            yield Line(start, text.decode("utf-8", "replace"))


def parts(line: str) -> list[Part]:
    """Cut a line at the marks of ranks: ``[default3]:a[default5]:b`` is what two ranks said."""
    marks = list(_MARK.finditer(line))
    if not marks:
        return [Part("", -1, line)]
    found = [Part("", -1, line[:marks[0].start()])] if line[:marks[0].start()].strip() else []
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(line)
        text = line[mark.end():end]
        if text.strip():  # [default3]:[rank11]: is one rank, marked twice
            found.append(Part(mark.group(1), int(mark.group(2)), text))
    return found


def moment(text: str) -> Optional[Moment]:
    """When a line says that it was written, by the node's clock and time zone; None where it does not."""
    for pattern in _STAMPS:
        match = pattern.search(text)
        if match:
            year, month, day, hour, minute, second = (int(word) for word in match.groups()[:6])
            try:
                base = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
            except (ValueError, OverflowError):
                return None
            if match.group(7):
                exact = base + int(match.group(7)) / 1000.0
                return exact, exact + 0.001
            return base, base + 1.0
    return None


def before(path: str, offset: int, lines: int, most: int = 16 * 1024) -> list[str]:
    """At most `lines` lines that stand before a byte of a file, oldest first."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, offset - most))
            text = file.read(min(offset, most)).decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()][-lines:]


def last_lines(path: str, lines: int, most: int = 256 * 1024) -> list[str]:
    """The last lines of a file, [] when there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            text = file.read(most).decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
