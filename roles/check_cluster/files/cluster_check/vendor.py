"""The vendor's own test of HCCL, where it is built and an MPI is there: all_reduce over the NPUs of this node.

Options and columns: "HCCL Performance Tester" of CANN 8.0.0 and 8.5.0, chapters on execution and on its result.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from typing import Any, Mapping

# data_size(Bytes) | aveg_time(us) | alg_bandwidth(GB/s) | check_result
ROW = re.compile(r"^\s*(\d+)\s*\|?\s*([\d.]+)\s*\|?\s*([\d.]+)\s*\|?\s*(success|failed|NULL)\s*$", re.MULTILINE)


def program(environment: Mapping[str, str]) -> str:
    """Where it is, "" where it is not."""
    path = os.path.join(environment.get("ASCEND_HOME_PATH", "/nonexistent"), "tools/hccl_test/bin/all_reduce_test")
    return path if os.access(path, os.X_OK) else ""


def read(text: str, count: int) -> dict[str, Any]:
    """The last line of its table, its algorithm's bandwidth as that of the bus; nothing where there is none."""
    rows = ROW.findall(text)
    if not rows:
        return {}
    return {"gb_per_second": float(rows[-1][2]) * 2 * (count - 1) / count, "checked": rows[-1][3]}


def all_reduce(count: int, mib: int, environment: dict[str, str], seconds: float) -> dict[str, Any]:
    """Run it; says what it measured, or why not. It finds nothing: torch measures the same, and its values are what is judged."""
    path, mpirun = program(environment), shutil.which("mpirun", path=environment.get("PATH"))
    if not path or not mpirun or count < 2:
        lacks = [word for word, there in (("hccl_test", path), ("mpirun", mpirun), ("second NPU", count > 1)) if not there]
        return {"tool": "hccl_test", "why": f"no {' and no '.join(lacks)}"}
    size = str(mib << 20)
    words = [mpirun, "-n", str(count), path, "-b", size, "-e", size, "-d", "fp32", "-o", "sum", "-p", str(count)]
    process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return {"tool": "hccl_test", "why": f"no answer within {seconds:g} s"}
    found = read(text, count)
    return {"tool": "hccl_test", **(found or {"why": f"status {process.returncode}: {text.strip()[-300:]}"})}
