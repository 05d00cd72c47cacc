"""The machine that measures, as it describes itself."""
from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

PACKAGES = ("tokenizers", "datasets", "transformers", "pyarrow", "numpy")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def busy() -> str:
    """A warning when others were at work in the last minute; else an empty string."""
    load = os.getloadavg()[0]
    return f"load average {load:.1f}: the machine is not idle, and the figures are not to be trusted" if load > 0.5 else ""


def described() -> str:
    """Cores, processor, memory and versions, in one sentence."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (f"{cores()} cores of {processor(_read('/proc/cpuinfo'))} ({platform.machine()}), {memory(_read('/proc/meminfo'))} of memory; "
            f"Python {platform.python_version()}, {versions}")


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def processor(cpuinfo: str) -> str:
    """The model's name in /proc/cpuinfo; aarch64 names none."""
    found = re.search(r"^(?:model name|Model Name|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else "a processor that names no model"


def memory(meminfo: str) -> str:
    """MemTotal of /proc/meminfo, in GiB."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return f"{int(found[1]) / (1 << 20):.0f} GiB" if found else "an unknown amount"
