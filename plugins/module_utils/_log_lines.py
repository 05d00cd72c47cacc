"""Lines of training logs: read in bounded memory and time, cut into what each rank said, and dated.

Runs on the nodes (Python 3.8, standard library). A log may hold gigabytes, carriage returns of progress bars, several ranks'
words in one line, and lines without an end.
"""
from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from datetime import datetime
from typing import Any, Generator, Iterator, NamedTuple, Sequence, Tuple

#: A longer line is cut: nothing that a person reads is longer.
LONGEST = 16 * 1024
#: Of what is left when the time is up only the end is read.
LAST_PART = 64 * 1024 * 1024

#: torchrun's tee marks a line by the local rank ([default3]:), torch's own excepthook by the global one ([rank11]:).
_MARK = re.compile(r"\[(default|rank)(\d+)\]:[ ]?")

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
    """Finds the lines of files that are of interest, within a time; counts what was read and what was left out.

    grep does the search: it is on every system, and ten times faster than Python's expressions over many words.

    Args:
        words: literals; a line that holds one is of interest.
        expression: an extended regular expression for what no literal tells.
        seconds: after so long only the last `LAST_PART` bytes of each file are searched.
    """

    def __init__(self, words: Sequence[str], expression: str, seconds: float) -> None:
        self.pattern = "|".join([expression, *(re.sub(r"[][(){}.*+?^$|\\]", r"\\\g<0>", word) for word in words)])
        self.words, self.expression = [word.encode() for word in words], re.compile(expression.encode())
        self.deadline = time.monotonic() + seconds
        self.read = self.skipped = 0

    def lines(self, path: str) -> Iterator[Line]:
        """Lines that are of interest, in order; a carriage return ends a line too. A file that cannot be read has none."""
        try:
            size = os.path.getsize(path)
            done = yield from self._search(path, 0, max(0.0, self.deadline - time.monotonic()) if size > LAST_PART else None)
            if done < size - LAST_PART:
                self.skipped += size - LAST_PART - done
                yield from self._search(path, size - LAST_PART, None)
            self.read += size
        except OSError:
            return

    def _search(self, path: str, start: int, seconds: float | None) -> Generator[Line, None, int]:
        """Search a file from a byte on; returns up to which byte it was searched at least, when the time was up."""
        if seconds is not None and seconds <= 0.0:
            return start
        words = ["grep", "--text", "--byte-offset", "--extended-regexp", "--regexp", self.pattern]
        with open(path, "rb") as file:
            size, offset = os.fstat(file.fileno()).st_size, start
            os.lseek(file.fileno(), start, os.SEEK_SET)
            with subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}) as grep:
                cut = threading.Event()

                def stop(grep: subprocess.Popen[bytes] = grep, cut: threading.Event = cut) -> None:
                    cut.set()
                    grep.kill()

                late = threading.Timer(seconds, stop) if seconds is not None else None
                try:
                    if late:
                        late.start()
                    for offset, text, alone in _segments(grep.stdout, start):
                        if alone or any(word in text for word in self.words) or self.expression.search(text):
                            yield Line(offset, text.decode("utf-8", "replace"))
                finally:
                    if late:
                        late.cancel()
                    grep.kill()
                return offset if cut.is_set() else size


def _segments(output: Any, start: int) -> Iterator[tuple[int, bytes, bool]]:
    """Offset and text of what grep prints, cut at carriage returns, and whether that is the whole line.

    Of a long line without a carriage return the end is kept.
    """
    offset, rest, inside = start, b"", False
    while True:
        piece = output.readline(LONGEST)
        if not piece:
            return
        if not inside:
            number, _, piece = piece.partition(b":")
            offset = start + int(number)
        inside = not piece.endswith(b"\n")
        *ended, rest = (rest + piece).rstrip(b"\n").split(b"\r")
        if not inside:
            ended, rest = [*ended, rest], b""
        for text in ended:
            yield offset, text[-LONGEST:], len(ended) == 1
            offset += len(text) + 1
        offset += max(0, len(rest) - LONGEST)
        rest = rest[-LONGEST:]


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


def moment(text: str) -> Moment | None:
    """When a line says that it was written, by the node's clock and time zone; None where it does not."""
    for pattern in _STAMPS:
        match = pattern.search(text)
        if match:
            year, month, day, hour, minute, second = (int(word) for word in match.groups()[:6])
            try:
                base = datetime(year, month, day, hour, minute, second).timestamp()
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
