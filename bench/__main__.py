"""Measure the preprocessor, on this machine, in this run: ``make bench``.

Whole processes are timed, their start included, by turns, several rounds; every way must write the same bytes in every
round, else nothing is said about its speed and the exit status is 1, as it is for a ratio below its limit. The limits are
those of natural text and Mixtral's own tokenizer; 52,002 rows of invented words are measured as well.
"""
from __future__ import annotations

import argparse
import datetime
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Mapping, Sequence

from bench import data, indexed, machine, natural, process, report

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".rehearsal" / "bench"
PROGRAM = ROOT / "roles" / "dataset" / "files" / "preprocess_data"
DOCUMENT = ROOT / "docs" / "bench.md"
PLOT = ROOT / "docs" / "bench-preprocess.svg"
UPSTREAM, BATCHED = "upstream's way", "the batched encode"
UPSTREAM_WORKERS = 4
# For natural text; what is made of invented words is reported.
LIMITS = {UPSTREAM: 12.0, BATCHED: 5.0}
MEMORY_BYTES = 2 * 10**9
CHECKED_DOCUMENTS = 2000
WARM_UP_ROWS = 500


class WrongError(Exception):
    """A way wrote other bytes than another."""


class Bench:
    """Runs the ways on one input.

    Attributes:
        tokens: ids that every way wrote, known after the first round.
    """

    def __init__(self, source: Path, tokenizer: Path, scratch: Path) -> None:
        self.source, self.tokenizer, self.scratch = source, tokenizer, scratch
        self.tokens = 0
        self._expected: Path | None = None
        self._runs = 0

    def environment(self) -> Mapping[str, str]:
        """Ours, without what changes the speed of a way, and with caches that are new for each run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENIZERS_", "RAYON_", "HF_", "OMP_"))}
        return {**kept, "HF_HOME": str(self.scratch / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}

    def command(self, name: str, workers: int, folder: Path) -> tuple[list[str], Path]:
        """The command line of a way, and the prefix of what it writes below `folder`."""
        prefix, arguments = folder / "out", [str(self.source), str(self.tokenizer)]
        if name == UPSTREAM:
            return [sys.executable, "-m", "bench.upstream", *arguments, str(prefix), str(workers), str(folder / "cache")], prefix
        if name == BATCHED:
            return [sys.executable, "-m", "bench.batched", *arguments, str(prefix)], prefix
        return ours(self.source, self.tokenizer, prefix, workers), Path(f"{prefix}_text_document")

    def time(self, name: str, workers: int = 0) -> process.Run:
        """Run a way, prove its files, remove them.

        Raises:
            WrongError: when the files are not those that the first run wrote.
        """
        self._runs += 1
        folder = self.scratch / f"{self._runs}"
        folder.mkdir()
        command, prefix = self.command(name, workers, folder)
        os.sync()  # what the way before has written is not to be waited for by this one
        ran = process.run(command, folder / "log", ROOT, self.environment())
        if self._expected is None:
            self._expected = prefix
            self.tokens = len(indexed.Dataset(prefix).ids)
            return ran
        if indexed.digest(prefix) != indexed.digest(self._expected):
            raise WrongError(f"{name} and {UPSTREAM} wrote different files: {indexed.difference(prefix, self._expected)}")
        shutil.rmtree(folder)
        return ran


def ours(source: Path, tokenizer: Path, prefix: Path, workers: int) -> list[str]:
    """The command line of this project's program."""
    return [sys.executable, str(PROGRAM), "--input", str(source), "--json-keys", "text", "--tokenizer-name-or-path", str(tokenizer),
            "--output-prefix", str(prefix), "--workers", str(workers)]


def compare(args: argparse.Namespace, scratch: Path) -> int:
    """Time all ways on both inputs and print the ratios. Returns the exit status."""
    print(machine.described(), flush=True)
    if machine.busy():
        print(f"warning: {machine.busy()}", flush=True)
    megabytes, rows = max(1, round(natural.MEGABYTES * args.scale)), max(1, round(data.ROWS * args.scale))
    text, tokenizer, documents = natural.prepared(FOLDER, megabytes)
    judged = by_turns(args, scratch / "natural", (text, tokenizer), documents, f"{megabytes} MB of natural text", "bench",
                      LIMITS if args.scale == 1 else {})
    judged += by_turns(args, scratch / "rows", data.prepared(FOLDER, rows), rows, f"{rows:,} rows", "bench-rows", {})
    for ratio in judged:
        print(ratio)
    if args.scale != 1:
        print(f"the limits are those of {natural.MEGABYTES} MB of natural text")
    return report.status(judged)


def by_turns(args: argparse.Namespace, scratch: Path, source: tuple[Path, Path], rows: int, what: str, name: str,
             limits: Mapping[str, float]) -> list[report.Ratio]:
    """Time all ways by turns on one input.

    Args:
        args: the command line.
        scratch: folder to make and to write in.
        source: what is encoded, and the tokenizer's folder.
        rows: documents in it.
        what: its name in words.
        name: its place in the document.
        limits: smallest ratio by baseline, where there is one.
    """
    cores = machine.cores()
    counts = report.worker_counts(cores)
    # Both limits compare like with like: as many processes as upstream's way has, all cores as the library takes.
    few = min(UPSTREAM_WORKERS, cores)
    turns = [(UPSTREAM, UPSTREAM_WORKERS), (BATCHED, 0), *(("ours", count) for count in sorted({*counts, few}))]
    scratch.mkdir()
    warm_up = Bench(*data.prepared(FOLDER, WARM_UP_ROWS), scratch / "warm-up")
    warm_up.scratch.mkdir()
    for turn in turns:
        warm_up.time(*turn)
    measured = Bench(*source, scratch)
    times: dict[tuple[str, int], list[process.Run]] = {turn: [] for turn in turns}
    for number in range(args.rounds):
        for turn in turns:
            times[turn].append(measured.time(*turn))
        print(f"round {number + 1} of {args.rounds}: " + ", ".join(f"{told(*turn)} {each[-1].seconds:.2f} s" for turn, each in times.items()), flush=True)
    print(f"bytes of .bin and .idx equal in all {len(turns) * args.rounds} runs: {what}, {rows:,} documents, {measured.tokens:,} tokens")

    timings = {turn: report.Timing(tuple(run.seconds for run in each), tuple(run.processor for run in each)) for turn, each in times.items()}
    scaling = {count: timings["ours", count] for count in sorted({*counts, few})}
    for turn, timing in timings.items():
        print(f"{told(*turn)}: {timing}, CPU {timing.computed:.2f} s, {measured.tokens / timing.median / 1e6:.2f} million tokens/s")
    if cores == 1:
        print("scaling: there is 1 core here")
    else:
        print(f"scaling: {cores} workers {report.times(scaling[1].median / scaling[cores].median)} one worker on {cores} cores"
              + (" (only 2 here: nothing is known about more)" if cores == 2 else ""))
    judged = [report.Ratio(baseline, timings[turn], scaling[count], limits.get(baseline), what)
              for baseline, turn, count in ((UPSTREAM, turns[0], few), (BATCHED, turns[1], cores))]
    ways = [report.Way("upstream's way: `datasets`, a row at a time", f"{UPSTREAM_WORKERS} processes", timings[turns[0]]),
            report.Way("`tokenizers`, `encode_batch_fast`", f"1 process, {cores} threads", timings[turns[1]])]
    if args.write_docs:
        write_documents(name, ways, scaling, what, rows, measured.tokens, judged, args.rounds)
    return judged


def told(name: str, workers: int) -> str:
    """A way as it is named in the output."""
    return f"ours with {workers} worker{'s' if workers > 1 else ''}" if name == "ours" else name


def write_documents(place: str, baselines: Sequence[report.Way], scaling: Mapping[int, report.Timing], what: str, rows: int, tokens: int,
                    judged: Sequence[report.Ratio], rounds: int) -> None:
    """Put the figures of one input into docs/bench.md, and draw the plot of natural text."""
    from bench import plot

    ways = [*baselines, *(report.Way("this project", f"`--workers {count}`", timing) for count, timing in scaling.items())]
    content = "\n\n".join([
        f"Measured on {datetime.date.today():%Y-%m-%d}, {rounds} rounds: {machine.described()}.",
        f"{what}, {rows:,} documents, {tokens:,} tokens; all ways wrote the same bytes in all rounds.",
        report.table(ways, rows, tokens, scaling[max(scaling)]),
        "```text\n" + "\n".join(map(str, judged)) + "\n```",
    ])
    DOCUMENT.write_text(report.between(DOCUMENT.read_text(encoding="utf-8"), place, content), encoding="utf-8")
    if place == "bench":
        names = ("upstream's way\n(4 processes)", "batched encode\n(all threads)")
        plot.draw(PLOT, [report.Way(name, way.run_as, way.timing) for name, way in zip(names, baselines)], dict(scaling), what, tokens)
    print(f"wrote the figures of {what} into {DOCUMENT.relative_to(ROOT)}")


def measure_memory(args: argparse.Namespace, scratch: Path) -> int:
    """Encode a file of 2 GB and print the peak of memory. Returns the exit status."""
    workers = machine.cores()
    source, tokenizer = data.prepared(FOLDER, data.ROWS)
    print(machine.described(), flush=True)
    rows, size = data.make_big(source, scratch / "big.parquet", int(MEMORY_BYTES * args.scale))
    print(f"made {rows:,} rows, {size / 1e9:.2f} GB of text; encoding with {workers} workers", flush=True)
    bench = Bench(scratch / "big.parquet", tokenizer, scratch)
    told = process.run([sys.executable, str(PROGRAM), "--help"], scratch / "help", ROOT, bench.environment()).output
    bound = args.bound * report.MIB if args.bound else report.stated_bound(told, workers, rows)
    command, prefix = bench.command("ours", workers, scratch)
    ran = process.run(command, scratch / "log", ROOT, bench.environment(), sample=0.1)
    checked = prove_sample(bench.source, tokenizer, prefix, rows)
    print(f"ids of {checked:,} documents, spread over the file, equal to the tokenizer's own; "
          f"{len(indexed.Dataset(prefix).ids):,} tokens, {size / ran.seconds / 1e6:.0f} MB of text a second")
    line = report.memory_line(size, ran.peak, ran.anonymous, bound, ran.seconds)
    print(line)
    if args.write_docs:
        content = f"Measured on {datetime.date.today():%Y-%m-%d}: {machine.described()}.\n\n```text\n{line}\n```"
        DOCUMENT.write_text(report.between(DOCUMENT.read_text(encoding="utf-8"), "bench-memory", content), encoding="utf-8")
    return 0 if ran.peak <= bound else 1


def prove_sample(source: Path, tokenizer: Path, prefix: Path, rows: int) -> int:
    """Compare documents from all over a dataset with what the tokenizer says. Returns how many.

    Raises:
        WrongError: when one differs.
    """
    import pyarrow.parquet
    from tokenizers import Tokenizer

    made, encoder = indexed.Dataset(prefix), Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    if len(made.lengths) != rows:
        raise WrongError(f"{len(made.lengths)} documents were written, the file has {rows} rows")
    every, start, checked = max(1, rows // CHECKED_DOCUMENTS), 0, 0
    for batch in pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=10000, columns=["text"]):
        for number in range(-start % every, len(batch), every):
            if made.document(start + number) != encoder.encode(batch.column(0)[number].as_py()).ids:
                raise WrongError(f"the ids of document {start + number} are not the tokenizer's")
            checked += 1
        start += len(batch)
    return checked


def remove_leftovers(folder: Path) -> None:
    """Remove the files of runs that were killed."""
    for path in folder.glob("run.*.*"):
        if not Path("/proc", path.name.split(".")[1]).is_dir():
            shutil.rmtree(path, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=str(__doc__).split("\n\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--scale", type=float, default=1, metavar="FRACTION", help="of the inputs to encode, to try the bench: no limits then")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--memory", action="store_true", help="instead, measure memory on a file of 2 GB")
    parser.add_argument("--bound", type=int, default=0, metavar="MIB", help="with --memory: the limit, if not the one that the program's help states")
    parser.add_argument("--write-docs", action="store_true", help="write the figures into docs/bench.md, and the plot")
    args = parser.parse_args()
    if args.rounds < 1 or not 0 < args.scale <= 1 or args.bound < 0:
        parser.error("--rounds must be at least 1, --scale more than 0 and at most 1, --bound not negative")
    return args


def main() -> int:
    """Run it. Returns the exit status."""
    args = arguments()
    FOLDER.mkdir(parents=True, exist_ok=True)
    remove_leftovers(FOLDER)
    # End as by an exception, so that what we started and wrote goes.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix=f"run.{os.getpid()}.", dir=FOLDER) as scratch:
            return (measure_memory if args.memory else compare)(args, Path(scratch))
    except (WrongError, process.RunError, ValueError, OSError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
