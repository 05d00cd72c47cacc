#!/usr/bin/env python3
"""Remove old run folders and what earlier tries of a run left, by number and size. The launch script runs it at each start, as the training user.

    python3 prune_runs.py --keep RUNS --gib SIZE [--logs FOLDER --node NAME] RUN_FOLDER

RUN_FOLDER is the run that starts: itself, what it is about to write and the newest earlier try stay. RUNS is how many runs are kept, and of each how
many earlier tries (train.TIME.log, ranks.TIME); SIZE what all runs may take together. 0: no limit. Of a run that goes, its log of this node in FOLDER
goes too. Standard library, Python 3.8; no link is followed.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from typing import Callable, Iterator, NamedTuple, Sequence

RUN = re.compile(r"[0-9a-f]{12}$")
TRY = re.compile(r"(?:train\.(?P<log>\d{8}T\d{6}Z_*)\.log|ranks\.(?P<ranks>\d{8}T\d{6}Z_*))$")


class Old(NamedTuple):
    """What can go: when it was written, its bytes, its paths, and what to say."""

    time: float
    size: int
    paths: tuple[str, ...]
    words: str


def size(path: str) -> int:
    """Bytes of a file, or of all files in a folder."""
    total = 0
    with contextlib.suppress(OSError):
        if not os.path.isdir(path) or os.path.islink(path):
            return os.lstat(path).st_size
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def written(path: str) -> float:
    """When a run was last written to, by its log; seconds since 1970."""
    for name in ("train.log", ""):
        with contextlib.suppress(OSError):
            return os.lstat(os.path.join(path, name)).st_mtime
    return 0.0


def tries(run: str) -> list[Old]:
    """What earlier tries left in a run's folder, the newest first."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(run):
        match = TRY.match(name)
        if match:
            found.setdefault(match.group("log") or match.group("ranks"), []).append(os.path.join(run, name))
    return [Old(max(os.lstat(path).st_mtime for path in paths), sum(map(size, paths)), tuple(paths), f"the try of {when} of run {os.path.basename(run)}")
            for when, paths in sorted(found.items(), reverse=True)]


def runs(folder: str, present: str) -> list[Old]:
    """The other runs, the newest first."""
    names = [name for name in os.listdir(folder) if RUN.match(name) and name != present]
    paths = [path for path in (os.path.join(folder, name) for name in names) if os.path.isdir(path) and not os.path.islink(path)]
    return sorted((Old(written(path), size(path), (path,), f"run {os.path.basename(path)}") for path in paths), reverse=True)


def surplus(folder: str, present: str, keep: int, most: float) -> Iterator[Old]:
    """What has to go: first by number, then the oldest until the rest takes no more than `most` bytes."""
    others = runs(folder, present)
    if keep:
        yield from others[keep - 1:]
        others = others[:keep - 1]
    total, left = size(os.path.join(folder, present)), []
    for run in others:
        earlier = tries(run.paths[0])
        if keep:
            yield from earlier[keep:]
        # They are older than the run itself, and go before it.
        left += [*earlier[:keep or None], run._replace(size=run.size - sum(one.size for one in earlier))]
    earlier = tries(os.path.join(folder, present))
    if keep:
        yield from earlier[keep:]
        total -= sum(one.size for one in earlier[keep:])
    # Why this run was started again is what somebody will want to know.
    candidates = sorted(left + earlier[1:keep or None])
    total += sum(one.size for one in left)
    for one in candidates:
        if not most or total <= most:
            return
        total -= one.size
        yield one


def remove(one: Old, forget: Callable[[str], None]) -> None:
    """Remove it.

    Raises:
        OSError: it cannot be removed.
    """
    for path in one.paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
            forget(os.path.basename(path))
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def main(words: Sequence[str]) -> int:
    """Entry."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("run")
    parser.add_argument("--keep", type=int, default=0)
    parser.add_argument("--gib", type=float, default=0)
    parser.add_argument("--logs", default="")
    parser.add_argument("--node", default="")
    given = parser.parse_args(words)
    folder, present = os.path.split(os.path.abspath(given.run))

    def forget(run: str) -> None:
        if given.logs and RUN.match(run):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(given.logs, run, f"{given.node}.log"))
                os.rmdir(os.path.join(given.logs, run))

    status = 0
    for one in list(surplus(folder, present, given.keep, given.gib * 2**30)):
        try:
            remove(one, forget)
            print(f"pretrain: removed {one.words}, {one.size / 2**20:.1f} MiB (pretrain_keep_runs, pretrain_keep_runs_gib)")
        except OSError as error:
            print(f"pretrain: {one.words} could not be removed: {error}. The training goes on")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
