"""Measure the supervisors of a run on this machine: ``make bench-run``.

16 real ones with a fake trainer: how far apart their ranks begin, with the barrier and without it in the same run; how fast the end of one reaches the others.
256 and 1,000 members as connections of one process: what the hub costs, how fast all are woken, what a question costs.
"""
from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Mapping, Sequence

from supervise import processes, ranks

from bench import machine, report
from bench.crowd import Crowd, crowd
from rehearsal.supervisors import PROGRAM, PYTHON, TOKEN, Cluster, free_port, until

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "run.md"
LATE = 10.0
LONG = {"iterations": 10**6, "seconds": 0.2}
TIMES = {"beat": 2, "backoff": 0, "first": 600}


def skew_with(folder: Path, nodes: int) -> tuple[Cluster, float]:
    """Start all, one of them late; seconds between the first and the last rank's start, by the hub's clock. The cluster trains on."""
    cluster = Cluster(folder, nodes, training=LONG, times=TIMES, max_restarts=100)
    try:
        cluster.start(*cluster.names[:-1])
        time.sleep(LATE)
        cluster.start(cluster.names[-1])
        told = cluster.until(lambda told: told["state"] == "running" and (told["skew"] or {}).get("of") == "ranks")
    except BaseException:
        cluster.close()
        raise
    return cluster, float(told["skew"]["seconds"])


def skew_without(folder: Path, nodes: int) -> float:
    """The same launch scripts, started as they are, one late."""
    cluster = Cluster(folder, nodes, training=LONG)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name in cluster.names:
            if name == cluster.names[-1]:
                time.sleep(LATE)
            started.append(subprocess.Popen(cluster.settings(name)["command"], stdout=subprocess.DEVNULL, env={**os.environ, "BENCH": cluster.run}))
        found = until(lambda: _all_started(cluster), "the ranks of all")
        return max(found) - min(found)
    finally:
        for pid in processes.marked(f"BENCH={cluster.run}"):
            processes.send(pid, 9)
        for process in started:
            process.wait()


def _all_started(cluster: Cluster) -> Sequence[float]:
    told = [ranks.started(str(cluster.folder / name), 1) for name in cluster.names]
    return [one["first"] for one in told if one] if all(told) else []


def propagation(cluster: Cluster, rounds: int) -> list[float]:
    """Kill a rank, again and again; seconds until each of the other nodes' launch scripts got SIGTERM."""
    found = []
    for number in range(rounds):
        told = cluster.until(lambda told, number=number: told["state"] == "running" and told["generation"] == number and told["skew"]["of"] == "ranks")
        assert told["generation"] == number  # noqa: S101
        victim = cluster.names[(number * 5 + 3) % len(cluster.names)]
        pid = next(iter(cluster.ranks(victim).values()))
        begun = time.monotonic()
        processes.send(pid, 9)
        others = [name for name in cluster.names if name != victim]
        marks = [cluster.folder / name / f"sigterm.{number}" for name in others]
        until(lambda marks=marks: all(mark.exists() and mark.read_text() for mark in marks), "SIGTERM for all")
        found += [float(mark.read_text()) - begun for mark in marks]
    return found


def follower(cluster: Cluster) -> tuple[float, int]:
    """Seconds that the program takes for one question, and the bytes of its answer."""
    took, size = [], 0
    for _ in range(5):
        begun = time.monotonic()
        done = subprocess.run([PYTHON, str(PROGRAM), "ask", "status", str(cluster.config("n0"))], capture_output=True, check=True)
        took.append(time.monotonic() - begun)
        size = len(done.stdout)
    return statistics.median(took), size


def table(nodes: int, skews: Mapping[str, float], reached: Sequence[float], rounds: int, asked: tuple[float, int], memory: float,
          crowds: Sequence[Crowd]) -> str:
    """Both tables, in Markdown."""
    heads = " | ".join(f"{one.members:,} members" for one in crowds)
    rows = {
        "until all were in, and told to start": [f"{one.come:.1f} s" for one in crowds],
        "the hub's processor, of one core, for a beat each 2 s": [f"{one.cpu * 100:.1f} %" for one in crowds],
        "the hub's memory": [f"{one.memory / 1e6:.0f} MB" for one in crowds],
        "a failure until the median / last member knew": [f"{one.woken[1] * 1e3:.0f} / {one.woken[0] * 1e3:.0f} ms" for one in crowds],
        "a follower's question: brief": [f"{one.asked * 1e3:.0f} ms, {one.brief / 1e3:.1f} kB" for one in crowds],
        "… with every node": [f"{one.asked_full * 1e3:.0f} ms, {one.full / 1e3:.1f} kB" for one in crowds]}
    return "\n".join([
        f"| {nodes} supervisors, a rank each, one node started {LATE:g} s late | |", "| --- | ---: |",
        f"| first to last rank, with the barrier | {skews['with']:.2f} s |",
        f"| the same without it | {skews['without']:.2f} s |",
        f"| a killed rank until the other launch scripts got SIGTERM ({rounds} times): median / worst | "
        f"{statistics.median(reached) * 1e3:.0f} / {max(reached) * 1e3:.0f} ms |",
        f"| memory of a supervisor, mean | {memory / 1e6:.0f} MB |",
        f"| `supervise ask status`, start of Python included | {asked[0] * 1e3:.0f} ms, {asked[1] / 1e3:.1f} kB |", "",
        f"| one hub | {heads} |", "| --- |" + " ---: |" * len(crowds), *(f"| {name} | {' | '.join(values)} |" for name, values in rows.items())])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench-run ARGS=…", description=str(__doc__).split("\n\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--nodes", type=int, default=16, help="real supervisors")
    parser.add_argument("--members", type=int, nargs="+", default=[256, 1000], help="connections of one process")
    parser.add_argument("--rounds", type=int, default=5, help="ranks that are killed")
    parser.add_argument("--seconds", type=float, default=20, help="of beats that are measured")
    parser.add_argument("--write-docs", action="store_true", help="write the figures into docs/run.md")
    return parser.parse_args()


def main() -> int:
    """Run it. Returns the exit status: 1 when the barrier did not help."""
    args = arguments()
    load = f" with other work on them ({machine.busy()})" if machine.busy() else ""
    print(load, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-run.") as scratch, contextlib.ExitStack() as until_the_end:
        skews = {"without": skew_without(Path(scratch, "without"), args.nodes)}
        cluster, skews["with"] = skew_with(Path(scratch, "with"), args.nodes)
        until_the_end.callback(cluster.close)
        print(f"skew with the barrier {skews['with']:.2f} s, without it {skews['without']:.2f} s", flush=True)
        reached = propagation(cluster, args.rounds)
        print(f"SIGTERM after {statistics.median(reached) * 1e3:.0f} ms in the median, {max(reached) * 1e3:.0f} ms at worst", flush=True)
        memory = statistics.mean(processes_memory(process.pid) for process in cluster.processes.values())
        asked = follower(cluster)
        cluster.close()
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "roles/pretrain/files")])
        crowds = []
        for count in args.members:
            crowds.append(crowd(Path(scratch, str(count)), PYTHON, count, free_port(), TOKEN, args.seconds))
            print(crowds[-1], flush=True)
    text = table(args.nodes, skews, reached, args.rounds, asked, memory, crowds)
    print(text)
    if args.write_docs:
        version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        content = f"Measured on {datetime.date.today():%Y-%m-%d} with {version}, all on {machine.cores()} cores{load}.\n\n{text}"
        DOCUMENT.write_text(report.between(DOCUMENT.read_text(encoding="utf-8"), "bench-run", content), encoding="utf-8")
    return 0 if skews["with"] < skews["without"] else 1


def processes_memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
