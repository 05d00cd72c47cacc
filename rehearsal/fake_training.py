"""A launch script that trains nothing: it logs, saves, fails and hangs as it is told, as torchrun and Megatron-LM would. For tests and `make bench-run`.

    fake_training.py PLAN_JSON

PLAN_JSON: node, nodes, ranks (of a node), run_dir, hooks, checkpoints, iterations, seconds (an iteration), save_every, save_seconds, saves (on SIGTERM),
kill_after (torchrun's), faults: a list of {node, rank (local), generation, iteration, kind}. Kinds: raise, kill (SIGKILL to itself), hang, stubborn (hangs
and ignores SIGTERM), corrupt (its newest shard, then raise), linger (at its exit), refuse (the script, before any rank).
"""
from __future__ import annotations

import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

LINE = (" [2026-01-01 00:00:00] iteration {:8d}/{:8d} | consumed samples:            8 | elapsed time per iteration (ms): {:.1f} | "
        "learning rate: 1.250E-07 | global batch size:     8 | lm loss: {:.6E} | loss scale: 1.0 | grad norm: 1.000 | "
        "number of skipped iterations:   0 | number of nan iterations:   0 |\n")


def shard(node: int) -> str:
    """The file that a node saves."""
    return f"mp_rank_{node:02d}/model_optim_rng.pt"


def save(plan: dict[str, Any], iteration: int) -> None:
    """Write this node's part of a checkpoint as torch.save would, for as long as it is told; then the tracker."""
    path = Path(plan["checkpoints"], f"iter_{iteration:07d}", shard(plan["node"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = max(1, int(plan["save_seconds"] / 0.1))
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"pickled")
        for step in range(steps):
            archive.writestr(f"archive/data/{step}", b"x" * 4096)
            file.flush()
            time.sleep(plan["save_seconds"] / steps)
    if plan["node"] == 0:
        Path(plan["checkpoints"], "latest_checkpointed_iteration.txt").write_text(str(iteration))


def train(plan: dict[str, Any], local: int, generation: int) -> None:
    """One rank."""
    sys.path.insert(0, plan["hooks"])
    os.environ.update(RANK=str(plan["node"] * plan["ranks"] + local), LOCAL_RANK=str(local))
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    if plan["saves"]:
        signal.signal(signal.SIGTERM, stop)
    import ascend_cluster_hooks  # type: ignore[import-not-found]

    ascend_cluster_hooks.install("failures")
    faults = [one for one in plan["faults"] if one["node"] == plan["node"] and one.get("rank", 0) == local and one.get("generation", 0) == generation]
    first = int(os.environ.get("SUPERVISE_LOAD") or 0) + 1
    for iteration in range(first, plan["iterations"] + 1):
        time.sleep(plan["seconds"])
        kinds = {one["kind"] for one in faults if one.get("iteration") == iteration}
        if "corrupt" in kinds:
            newest = max(Path(plan["checkpoints"]).glob("iter_*"))
            os.truncate(newest / shard(plan["node"]), 300)
        fail(kinds)
        if plan["node"] == plan["nodes"] - 1 and local == plan["ranks"] - 1:
            with Path(plan["run_dir"], "train.log").open("a") as log:
                log.write(LINE.format(iteration, plan["iterations"], plan["seconds"] * 1000, 6 - iteration / 100))
        if local == 0 and (asked or iteration % plan["save_every"] == 0 or iteration == plan["iterations"]):
            save(plan, iteration)
        if asked:
            sys.exit()
    fail({one["kind"] for one in faults if one["kind"] == "linger"})


def fail(kinds: set[str]) -> None:
    """Do what goes wrong now."""
    if kinds & {"raise", "corrupt"}:
        raise ValueError("as planned")
    if "kill" in kinds:
        os.kill(os.getpid(), signal.SIGKILL)
    if "stubborn" in kinds:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while kinds & {"hang", "stubborn", "linger"}:
        time.sleep(1)


def launch(plan: dict[str, Any]) -> int:
    """As the launch script and torchrun: start the ranks, each in a session of its own, pass SIGTERM on, end with the first failure."""
    run, generation = Path(plan["run_dir"]), int(os.environ.get("SUPERVISE_GENERATION", "0"))
    stopped: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(time.monotonic())
        (run / f"sigterm.{generation}").write_text(str(stopped[-1]))

    signal.signal(signal.SIGTERM, stop)
    if any(one["kind"] == "refuse" and one["node"] == plan["node"] and one.get("generation", 0) == generation for one in plan["faults"]):
        print("pretrain: refused as planned", file=sys.stderr)
        return 1
    if (run / "train.log").exists():
        os.replace(run / "train.log", run / f"train.{generation - 1}.log")
    (run / "train.log").touch()
    ranks: dict[int, int] = {}
    for local in range(plan["ranks"]):
        pid = os.fork()
        if pid == 0:
            _rank(plan, local, generation)
        ranks[pid] = local
    failed, killed = 0, False
    while ranks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            local = ranks.pop(pid)
            if status and not failed:
                failed = 1
                stopped.append(time.monotonic())
                with (run / "train.log").open("a") as log:
                    log.write(f"Root Cause (first observed failure):\n[0]:\n  rank      : {plan['node'] * plan['ranks'] + local} (local_rank: {local})\n"
                              f"  exitcode  : {-status if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)} (pid: {pid})\n")
        if stopped and not killed:
            for one in ranks:
                os.kill(one, signal.SIGTERM)
            killed = True
        if stopped and time.monotonic() - stopped[0] > plan["kill_after"]:
            for one in ranks:
                os.kill(one, signal.SIGKILL)
        time.sleep(0.02)
    return failed


def _rank(plan: dict[str, Any], local: int, generation: int) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    status = 1
    try:
        train(plan, local, generation)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(launch(json.loads(sys.argv[1])))
