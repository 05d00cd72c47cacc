from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Callable

import pytest

PACKAGES = Path(__file__).resolve().parents[2] / "rehearsal" / "npu_on_cpu"
sys.path.insert(0, str(PACKAGES))

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python() -> Run:
    """Run a program in an interpreter of its own, the stand-ins first on its path."""

    def run(program: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        places = [str(PACKAGES), *([str(path)] if path else [])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=env, capture_output=True, text=True, check=False)

    return run
