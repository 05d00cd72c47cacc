"""The devices: how many there are, and which one is current."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

from .. import _faults

Device = Any  # an index, "npu:0", a torch.device or None, as in torch.cuda

_current = 0
#: of the pretend node's files /dev/davinci<index>: open for as long as the process lives, as the driver's are, so that it is seen who uses an NPU
_held: dict[int, int] = {}


def index_of(given: Device) -> int:
    """Index of a device given as index, string, torch.device or None (the current one); ValueError if there is none."""
    if given is None:
        return _current
    if isinstance(given, str):  # torch.device knows no "npu"
        kind, _, number = given.partition(":")
        if kind not in ("npu", "cuda"):
            raise ValueError(f"{given!r} names no NPU")
        index = int(number) if number else None
    else:
        index = getattr(given, "index", given)
    if index is None or index == -1:
        return _current
    if not 0 <= int(index) < device_count():
        raise ValueError(f"device {given} does not exist: there are {device_count()} (LOCAL_WORLD_SIZE, else as npu-smi shows)")
    return int(index)


def is_available() -> bool:
    """Say that there are devices."""
    return True


def is_initialized() -> bool:
    """Say that the devices are ready."""
    return True


def init() -> None:
    """Do nothing: there is nothing to initialize."""


def is_bf16_supported() -> bool:
    """Say that bfloat16 works, as on Atlas A2."""
    return True


def device_count() -> int:
    """Number of devices: LOCAL_WORLD_SIZE as set by torchrun, else as the pretend node's npu-smi counts, else 1."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    count = 1
    for name in ("node.env", "faults"):
        try:
            with open(f"{os.environ.get('REHEARSAL_ROOT', '')}/etc/rehearsal/{name}") as stream:
                count = int(([str(count), *re.findall(r"(?mi)^NPU_COUNT=(\d+)$", stream.read())])[-1])
        except OSError:
            continue
    return count


def set_device(device: Device) -> None:
    """Make ``device`` the current one; ValueError when its index is not below device_count()."""
    global _current  # the current device is process-wide state in torch.cuda too
    index = index_of(device)
    _faults.on_set(index)
    if index not in _held:
        with contextlib.suppress(OSError):
            _held[index] = os.open(f"{os.environ.get('REHEARSAL_ROOT', '')}/dev/davinci{index}", os.O_RDONLY)
    _current = index


def current_device() -> int:
    """Index of the current device."""
    return _current


def get_device_name(device: Device = None) -> str:
    """Name of a device, which no real NPU has."""
    index_of(device)
    return "CPU (rehearsal)"


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """CUDA capability (8, 0), the smallest that Megatron accepts for bf16; an NPU has none."""
    index_of(device)
    return (8, 0)


class device:
    """Context manager that makes a device the current one."""

    def __init__(self, device: Device) -> None:
        self.idx = index_of(device)
        self.before = _current

    def __enter__(self) -> device:
        self.before = _current
        set_device(self.idx)
        return self

    def __exit__(self, *exc: object) -> None:
        set_device(self.before)
