"""Where the ranks of a training stand: their stacks, asked for by SIGUSR1, and which of them stands elsewhere than the others.

`ask` runs on the nodes (Python 3.8, standard library), `verdict` on the controller. The hook `failures` registers the signal and writes, below
the run's folder, ``stacks/rank<RANK>.pid`` and, when it is asked, ``stacks/rank<RANK>.txt``. A process that did not register is never signalled:
SIGUSR1 would end it.
"""
from __future__ import annotations

import contextlib
import glob
import os
import re
import signal
import time
from typing import Any, Mapping, Sequence

_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+) in (\S+)')
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x[0-9a-f]+")
#: where a process waits for others: those that stand there lack somebody
_WAITING = re.compile(r"distributed_c10d\.py$|torch/distributed/|megatron/core/pipeline_parallel/p2p_communication\.py$|\bsynchronize$")
#: ranks and nodes that a message names one by one
_SHOWN = 16
_STATES = {"R": "running", "S": "sleeping", "D": "in uninterruptible sleep (a disk, a network file system or the NPU's driver)", "T": "stopped by a signal",
           "t": "stopped by a debugger", "Z": "dead, and not waited for"}


def process_state(pid: int) -> str:
    """State of a process in plain words, by /proc; "gone" where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
    return _STATES.get(letter, letter)


def ask(folder: str, seconds: float) -> dict[int, dict[str, str]]:
    """Ask every rank of a run on this node for its stacks.

    Args:
        folder: of the run.
        seconds: how long to wait for those that do not answer.

    Returns:
        Of each rank ``stack`` (what faulthandler wrote, "" when it did not answer) and ``state`` of its process.
    """
    asked: dict[int, tuple[int, str, int]] = {}
    for rank, path in _pid_files(folder):
        text = path[:-len(".pid")] + ".txt"
        asked[rank] = (_registered(path, folder), text, os.path.getsize(text) if os.path.exists(text) else 0)
    for pid, _, _ in asked.values():
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(pid and not _since(text, before) for pid, text, before in asked.values()):
        time.sleep(0.1)
    # For the last frames of a stack that is being written.
    time.sleep(0.2)
    return {rank: {"stack": _since(text, before) if pid else "", "state": process_state(pid) if pid else "gone"}
            for rank, (pid, text, before) in sorted(asked.items())}


def registered(folder: str) -> dict[int, int]:
    """Global rank to process id of the ranks of a run on this node that are there."""
    found = {rank: _registered(path, folder) for rank, path in _pid_files(folder)}
    return {rank: pid for rank, pid in sorted(found.items()) if pid}


def _pid_files(folder: str) -> list[tuple[int, str]]:
    paths = glob.glob(os.path.join(glob.escape(folder), "stacks", "rank*.pid"))
    numbers = [(os.path.basename(path)[len("rank"):-len(".pid")], path) for path in paths]
    return [(int(number), path) for number, path in numbers if number.isdigit()]


def _registered(path: str, folder: str) -> int:
    """The process that a pid file names, 0 when it is gone: another one may have its number by now."""
    try:
        with open(path, encoding="utf-8") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/environ", "rb") as environment:
            return pid if f"ASCEND_RUN_DIR={folder}".encode() in environment.read().split(b"\0") else 0
    except (OSError, ValueError):
        return 0


def _since(path: str, offset: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(64 * 1024).decode("utf-8", "replace")
    except OSError:
        return ""


def main_thread(stack: str) -> list[tuple[str, int, str]]:
    """(file, line, function) of the main thread's frames, innermost first: the last thread that faulthandler lists is the first one."""
    threads: list[list[tuple[str, int, str]]] = []
    for line in stack.splitlines():
        if _THREAD.match(line):
            threads.append([])
        match = _FRAME.match(line)
        if match and threads:
            threads[-1].append((match.group(1), int(match.group(2)), match.group(3)))
    return threads[-1] if threads else []


def _waits(frames: Sequence[tuple[str, int, str]]) -> bool:
    return any(_WAITING.search(file) or _WAITING.search(function) for file, _, function in frames[:4])


def _place(frames: Sequence[tuple[str, int, str]]) -> str:
    """The frame that tells where a rank stands: the innermost one that is not of torch.distributed itself."""
    shown = next((frame for frame in frames if not _WAITING.search(frame[0])), frames[0])
    return f"{shown[2]} ({os.path.basename(shown[0])}:{shown[1]})"


def verdict(stacks: Mapping[int, Mapping[str, str]], nodes: Sequence[str], nproc_per_node: int, unheard: Sequence[str] = ()) -> dict[str, Any]:
    """Tell which ranks stand elsewhere than the others.

    Args:
        stacks: of each global rank, as `ask` returns them.
        nodes: names in the order of ranks.
        nproc_per_node: ranks on each node.
        unheard: nodes that gave no answer: nothing is known of their ranks.

    Returns:
        ``ranks`` (those that the others wait for, as far as that can be told) and ``message``.
    """
    def name(rank: int) -> str:
        return f"global rank {rank} on {nodes[rank // nproc_per_node]} (local rank {rank % nproc_per_node})"

    unknown = f"Nothing is known of the ranks of {', '.join(unheard[:_SHOWN])}{' …' if len(unheard) > _SHOWN else ''}: no answer." if unheard else ""
    if not stacks:
        heard = [node for node in nodes if node not in set(unheard)]
        words = [f"No rank of a training is there to be asked on {', '.join(heard[:_SHOWN])}{' …' if len(heard) > _SHOWN else ''}: none runs, or it has not "
                 "come to its first line (runs/current/train.log on each node tells)."] if heard else []
        return {"ranks": [], "message": " ".join([*words, *([unknown] if unknown else [])])}
    unasked = set(unheard)
    wanted = [rank for rank in range(len(nodes) * nproc_per_node) if nodes[rank // nproc_per_node] not in unasked]
    silent = [rank for rank in wanted if not main_thread(str(stacks.get(rank, {}).get("stack", "")))]
    frames = {rank: main_thread(str(stacks[rank]["stack"])) for rank in wanted if rank not in silent}
    places: dict[str, list[int]] = {}
    for rank, found in frames.items():
        places.setdefault(("waits in " if _waits(found) else "") + _place(found), []).append(rank)
    waiting = [rank for rank, found in frames.items() if _waits(found)]
    elsewhere = [rank for rank in frames if rank not in waiting]
    lines = []
    if silent:
        odd = silent
        lines += [f"{name(rank)} could not write its stack: its process is {stacks.get(rank, {}).get('state', 'unknown, it has not registered')}."
                  for rank in silent[:_SHOWN]]
        if len(silent) > _SHOWN:
            on = list(dict.fromkeys(nodes[rank // nproc_per_node] for rank in silent))
            more = " …" if len(on) > _SHOWN else ""
            lines.append(f"So could not {len(silent) - _SHOWN} more; {len(silent)} ranks in all, on {', '.join(on[:_SHOWN])}{more}.")
    elif elsewhere and waiting:
        odd = elsewhere
        lines += [f"{name(rank)} stands elsewhere than the {len(waiting)} that wait for others: in {_place(frames[rank])}." for rank in elsewhere]
    elif len(places) > 1:
        largest = max(len(ranks) for ranks in places.values())
        odd = sorted(rank for ranks in places.values() if len(ranks) < largest for rank in ranks)
        lines += [f"{name(rank)} {'waits' if rank in waiting else 'stands'} elsewhere than most: in {_place(frames[rank])}." for rank in odd]
    else:
        odd = []
    if unknown:
        lines.append(unknown)
    if not odd:
        lines.append("No rank stands elsewhere than the others: who is missing cannot be told by the stacks.")
    lines += [f"  {len(ranks)} of {len(wanted)} ranks: {place}" for place, ranks in sorted(places.items(), key=lambda item: -len(item[1]))[:6]]
    return {"ranks": odd, "message": "\n".join(lines)}
