"""What is said about measurements: ratios, their limits, and the table of docs/bench.md. Nothing here runs anything."""
from __future__ import annotations

import dataclasses
import math
import re
import statistics
from typing import Sequence

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one way, a value a round; `processor`: those that its processes computed, on all cores together."""

    seconds: tuple[float, ...]
    processor: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.seconds)

    @property
    def computed(self) -> float:
        """The middle value of `processor`; work of others on the machine changes it far less than the time that passes."""
        return statistics.median(self.processor)

    def __str__(self) -> str:
        return f"{self.median:.2f} s ({min(self.seconds):.2f} to {max(self.seconds):.2f})"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as long as ours a baseline takes.

    Attributes:
        baseline: its name.
        theirs: its times.
        ours: our times in the same rounds.
        limit: smallest ratio that is good enough; None when there is nothing to judge.
        what: was encoded.
    """

    baseline: str
    theirs: Timing
    ours: Timing
    limit: float | None
    what: str

    @property
    def value(self) -> float:
        """The ratio of the medians."""
        return self.theirs.median / self.ours.median

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of a round."""
        each = [theirs / ours for theirs, ours in zip(self.theirs.seconds, self.ours.seconds)]
        return min(each), max(each)

    @property
    def ok(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is None or self.value >= self.limit

    def __str__(self) -> str:
        low, high = self.spread
        rounds = len(self.ours.seconds)
        line = (f"preprocess {self.what}: {times(self.value)} {self.baseline} "
                f"({self.theirs.median:.1f} s / {self.ours.median:.1f} s; {times(low)} to {times(high)} in {rounds} "
                f"round{'s' if rounds > 1 else ''}), ")
        if self.limit is None:
            return line + "not judged"
        return line + f"limit {self.limit:g}x: {'ok' if self.ok else 'MISSED'}"


def times(ratio: float) -> str:
    """A ratio with one digit, rounded down, so that 9.97 is not printed as a 10 that it is not."""
    return f"{math.floor(ratio * 10 + 1e-9) / 10:.1f}x"


def status(judged: Sequence[Ratio]) -> int:
    """The exit status: 0 when every ratio reaches its limit."""
    return 0 if all(ratio.ok for ratio in judged) else 1


def worker_counts(cores: int) -> list[int]:
    """1, 2, 4 and so on below the number of cores, and that number."""
    return [count for count in (1 << power for power in range(cores.bit_length())) if count < cores] + [cores]


def stated_bound(told: str, workers: int, documents: int) -> int:
    """The bound of memory that the preprocessor states in its help, in bytes, for its default size of a chunk.

    Args:
        told: its help.
        workers: how many it is given.
        documents: how many it is to write.

    Raises:
        ValueError: when the help states it in other words than are known here.
    """
    words = " ".join(told.split())
    bound = re.search(r"(\d+) MiB \+ workers x \((\d+) MiB \+ (\d+) x chunk\) \+ (\d+) bytes a document", words)
    chunk = re.search(r"--chunk-mib CHUNK_MIB [^-]*?\(default: (\d+(?:\.\d+)?)\)", words)
    if not bound or not chunk:
        raise ValueError("the help of the preprocessor states no bound of memory in the known form: expected \"… MiB + workers x (… MiB + "
                         "… x chunk) + … bytes a document\" and the default of --chunk-mib. Give it by --bound, or change bench/report.py")
    fixed, each, factor, document = map(int, bound.groups())
    return int((fixed + workers * (each + factor * float(chunk[1]))) * MIB) + document * documents


def memory_line(text_bytes: int, peak: int, anonymous: int, bound: int, seconds: float) -> str:
    """One line about the memory of the process tree."""
    line = (f"preprocess {text_bytes / 1e9:.2f} GB of text: peak memory {peak / MIB:,.0f} MiB of all processes, "
            f"{anonymous / MIB:,.0f} MiB of it no pages of files, {seconds:.0f} s, ")
    return line + f"bound {bound / MIB:,.0f} MiB: {'ok' if peak <= bound else 'MISSED'}"


@dataclasses.dataclass(frozen=True)
class Way:
    """A row of the table: a way, how it was run, its times."""

    name: str
    run_as: str
    timing: Timing


def table(ways: Sequence[Way], rows: int, tokens: int, ours: Timing) -> str:
    """A Markdown table of all ways; the last column is how many times as long as `ours` each takes."""
    lines = ["| way | run as | median, s | min to max, s | CPU, s | documents/s | million tokens/s | times ours |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for way in ways:
        median = way.timing.median
        lines.append(f"| {way.name} | {way.run_as} | {median:.2f} | {min(way.timing.seconds):.2f} to "
                     f"{max(way.timing.seconds):.2f} | {way.timing.computed:.2f} | {rows / median:,.0f} | {tokens / median / 1e6:.2f} | "
                     f"{median / ours.median:.1f} |")
    return "\n".join(lines)


def between(text: str, name: str, content: str) -> str:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: unless each marker is there once, in this order.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(opening) != 1 or text.count(closing) != 1 or text.index(opening) > text.index(closing):
        raise ValueError(f"expected one {opening} and one {closing} after it, found {text.count(opening)} and {text.count(closing)}")
    before, rest = text.split(opening)
    return f"{before}{opening}\n\n{content}\n\n{closing}{rest.split(closing)[1]}"
