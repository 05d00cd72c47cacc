"""The program of role check_cluster on pretend NPUs, two nodes of which are two processes here."""
from __future__ import annotations

import base64
import fcntl
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["node1", "node2", "node3"]


def program(folder: Path) -> Path:
    """The archive, as the role brings it."""
    spec = importlib.util.spec_from_file_location("program_zip", ROOT / "plugins/filter/program_zip.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = folder / "program.zip"
    path.write_bytes(base64.b64decode(module.program_zip(str(ROOT / "roles/check_cluster/files/cluster_check"))))
    return path


def start(folder: Path, count: int, faults: dict[int, str] | None = None, **settings: Any) -> list[subprocess.Popen[str]]:
    """Start the program for each node; faults by node, as the variable takes them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path, started = program(folder), []
    for rank in range(count):
        order = {"tier": "deep", "rank": rank, "nodes": NAMES[:count], "nproc": 2, "master": "127.0.0.1", "port": port, "precision": "bf16", "side": 64,
                 "mib": 1, "seconds": 120, "minutes": 0.05, "run_dir": str(folder / "runs"), "environment": {}, **settings}
        env = {**os.environ, "PYTHONPATH": str(ROOT / "rehearsal/npu_on_cpu"), "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2",
               "STANDIN_NPU_FAULT": (faults or {}).get(rank, "")}
        words = [sys.executable, str(path), base64.b64encode(json.dumps(order).encode()).decode()]
        started.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started


def measure(folder: Path, count: int, faults: dict[int, str] | None = None, **settings: Any) -> dict[str, Any]:
    """What the master tells."""
    found = [one.communicate() for one in start(folder, count, faults, **settings)]
    assert found[0][0], found
    said = json.loads(found[0][0])
    assert isinstance(said, dict) and "phases" in said, (said, found)
    assert [json.loads(output or "{}") for output, _ in found[1:]] == [{}] * (count - 1), found
    return said


def results(said: dict[str, Any], name: str, node: str = "node1") -> list[dict[str, Any]]:
    found = [phase for phase in said["phases"] if phase["name"] == name]
    assert len(found) == 1, [phase["name"] for phase in said["phases"]]
    ranks = found[0]["results"][node]
    assert isinstance(ranks, list)
    return ranks


def test_who_hangs_is_told_who_does_not_come_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    said = measure(tmp_path, 3, {1: "0:hangsum"}, nodes=[*NAMES, "node4"], seconds=40)
    assert (said["joined"], said["bad"], said["unsure"]) == (NAMES, [], [])
    assert [phase["name"] for phase in said["phases"]] == ["node", "vendor", "all"]
    for one in results(said, "node", "node2"):
        assert (one["failed"], one["at"]) == ("no answer within 40 s", "all_reduce")
    assert said["phases"][-1]["groups"] == [["node1", "node3"]]
    for name, node in (("node", "node1"), ("node", "node3"), ("all", "node1"), ("all", "node3")):
        for device, one in enumerate(results(said, name, node)):
            assert one["device"] == device and "failed" not in one and one["collectives"]["wrong"] == []
            assert one["collectives"]["all_reduce"]["gb_per_second"] > 0 and one["collectives"]["all_to_all"]["gb_per_second"] > 0
            assert ("compute" in one) == (name == "node")
    compute = results(said, "node")[0]["compute"]
    assert compute["wrong"] == [] and min(compute[key] for key in ("matmul_seconds", "tflops", "memory_gb_per_second", "host_gb_per_second")) > 0


def test_an_npu_that_is_slow_computes_wrong_sums_wrong_or_crashes(tmp_path: Path) -> None:
    said = measure(tmp_path, 3, {0: "0:slow,1:wrong", 1: "1:wrongsum", 2: "0:crash"})
    assert [phase["name"] for phase in said["phases"]] == ["node"]
    slow, wrong = results(said, "node")
    good, sums = results(said, "node", "node2")
    crashed, beside = results(said, "node", "node3")
    assert slow["compute"]["matmul_seconds"] > 2 * min(one["compute"]["matmul_seconds"] for one in (wrong, good, sums))
    assert "values of a product are wrong, the first at (0, 0): found" in wrong["compute"]["wrong"][0]
    assert good["collectives"]["wrong"] == [] == good["compute"]["wrong"]
    assert sums["collectives"]["wrong"] == ["1 of 262144 values of all_reduce over 2 NPUs are wrong, the first at 0: found 2, expected 1"]
    assert (crashed["failed"], crashed["at"]) == ("died of signal 6", "compute")
    assert beside["failed"].startswith("ended, since NPU 0 failed") or "ended with status 1" in beside["failed"]


def test_a_stress_repeats_and_lets_all_meet(tmp_path: Path) -> None:
    said = measure(tmp_path, 2, tier="stress")
    assert [phase["name"] for phase in said["phases"]] == ["stress", "pairs 1"]
    for node in ("node1", "node2"):
        for one in results(said, "stress", node):
            samples = one["stress"]["samples"]
            assert len(samples) >= 2 and samples[-1]["at"] > 2.5 and all(sample["wrong"] == [] for sample in samples)


def test_a_training_that_holds_the_lock_is_not_disturbed(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (master,) = start(tmp_path, 1)
        assert json.loads(master.communicate()[0]) == {"error": f"a training holds {tmp_path}/runs/lock"}


def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    (master,) = start(tmp_path, 1, {0: "1:hangsum"})

    def ranks() -> list[str]:
        found = subprocess.run(["pgrep", "-f", f"{tmp_path}/program.zip rank"], capture_output=True, text=True, check=False).stdout.split()
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]

    while len(ranks()) < 2:
        assert master.poll() is None
        time.sleep(0.1)
    master.kill()
    master.wait()
    deadline = time.monotonic() + 30
    while ranks() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ranks() == []
