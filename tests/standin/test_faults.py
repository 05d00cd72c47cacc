"""A fault that needs torch: the worker of a DataLoader that is killed."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_a_killed_data_worker_is_told_as_torch_tells_it() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "rehearsal/upstream/common/Megatron-LM/megatron/training"), "PYTHONDONTWRITEBYTECODE": "1",
                   "RANK": "1", "STANDIN_FAULT": "worker", "STANDIN_RANK": "1", "STANDIN_AT": "3"}
    done = subprocess.run([sys.executable, "-c", "import faults; faults.after_iteration(3)"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DataLoader worker (pid" in done.stderr.splitlines()[-1]
