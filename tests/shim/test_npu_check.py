"""Role conda_env's small operation on every NPU, on the pretend ones with faults."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "roles/conda_env/files/npu_check.py"


def check(count: int, precision: str = "bf16", seconds: float = 300, **environment: str) -> dict[int, dict[str, Any]]:
    """What the program says of the devices that failed, as the role runs it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "rehearsal/npu_on_cpu"), "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(count), **environment}
    done = subprocess.run([sys.executable, "-", str(count), precision, str(seconds)], input=PROGRAM.read_text(), env=env, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return {one["device"]: one for one in json.loads(done.stdout)["failed"]}


def test_every_kind_of_fault_is_told_and_hides_no_other() -> None:
    found = check(6, STANDIN_NPU_FAULT="0:absent,1:broken,2:wrong,3:crash,4:nobf16")
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert "107001" in found[0]["text"] and found[0]["what"] == "it failed"
    assert "error code is 561103" in found[1]["text"]
    assert "wrong product: " in found[2]["text"] and "of 4096 values differ from the CPU's, the first at (0, 0): found " in found[2]["text"]
    assert found[3]["what"] == "the process died of signal 6 (SIGABRT)"
    assert "DT_BFLOAT16" in found[4]["text"]


def test_a_chip_without_bf16_does_fp16() -> None:
    assert check(1, "fp16", STANDIN_NPU_FAULT="0:nobf16") == {}


def test_a_device_that_is_not_there_beside_good_ones() -> None:
    found = check(3, LOCAL_WORLD_SIZE="2")
    assert sorted(found) == [2]
    assert "device 2 does not exist: there are 2" in found[2]["text"]


def test_a_hang_is_told() -> None:
    found = check(1, seconds=0.5, STANDIN_NPU_FAULT="0:hang")
    assert found[0]["what"].startswith("no answer within 0.5 s (state ")


def test_outside_of_torchrun_devices_are_those_of_npu_smi(tmp_path: Path) -> None:
    program = "import torch, torch_npu; print(torch.npu.device_count())"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "rehearsal/npu_on_cpu"), "REHEARSAL_ROOT": str(tmp_path)}
    env.pop("LOCAL_WORLD_SIZE", None)

    def count() -> str:
        return subprocess.run([sys.executable, "-c", program], env=env, text=True, capture_output=True, check=True).stdout

    assert count() == "1\n"
    (tmp_path / "etc/rehearsal").mkdir(parents=True)
    (tmp_path / "etc/rehearsal/node.env").write_text("NODE_INDEX=1\nNPU_COUNT=4\n")
    assert count() == "4\n"
    (tmp_path / "etc/rehearsal/faults").write_text("npu_health_1=Alarm\nnpu_count=3\n")
    assert count() == "3\n"


def test_an_unknown_fault_is_refused() -> None:
    found = check(1, STANDIN_NPU_FAULT="0:tired")
    assert "unknown tired, expected absent, broken" in found[0]["text"]
