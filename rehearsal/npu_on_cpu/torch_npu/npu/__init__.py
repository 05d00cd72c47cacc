"""The part of ``torch_npu.npu`` (also ``torch.npu`` and, redirected, ``torch.cuda``) that Megatron and AscendSpeed call.

Source of the semantics: Huawei's "PyTorch native API support list", chapter torch.cuda, which maps each name to its
``torch_npu.npu`` twin. There are LOCAL_WORLD_SIZE devices, as many as torchrun starts ranks on the node; outside of torchrun
as many as the pretend node shows in npu-smi. All of them are this CPU: nothing is counted (memory figures are 0) and nothing
has to be waited for.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Callable, Iterable

import torch

from .. import _faults
from .._guard import not_in_rehearsal

__all__ = [
    "BFloat16Tensor",
    "BoolTensor",
    "ByteTensor",
    "DoubleTensor",
    "Event",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "Stream",
    "current_device",
    "current_stream",
    "default_generators",
    "default_stream",
    "device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_rng_state",
    "get_rng_state_all",
    "init",
    "initial_seed",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_max_memory_allocated",
    "reset_peak_memory_stats",
    "seed",
    "set_device",
    "set_rng_state",
    "set_rng_state_all",
    "stream",
    "synchronize",
]

Device = Any  # an index, "npu:0", a torch.device or None, as in torch.cuda

_current = 0


def _index(given: Device) -> int:
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
    index = _index(device)
    _faults.on_set(index)
    _current = index


def current_device() -> int:
    """Index of the current device."""
    return _current


def get_device_name(device: Device = None) -> str:
    """Name of a device, which no real NPU has."""
    _index(device)
    return "CPU (rehearsal)"


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """CUDA capability (8, 0), the smallest that Megatron accepts for bf16; an NPU has none."""
    _index(device)
    return (8, 0)


def synchronize(device: Device = None) -> None:
    """Return at once: the CPU has finished."""


def empty_cache() -> None:
    """Do nothing: there is no cache."""


def memory_allocated(device: Device = None) -> int:
    """0 bytes."""
    return 0


def memory_reserved(device: Device = None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device: Device = None) -> int:
    """0 bytes."""
    return 0


def max_memory_reserved(device: Device = None) -> int:
    """0 bytes."""
    return 0


def reset_max_memory_allocated(device: Device = None) -> None:
    """Do nothing: nothing is counted."""


def reset_peak_memory_stats(device: Device = None) -> None:
    """Do nothing: nothing is counted."""


def memory_stats(device: Device = None) -> dict[str, int]:
    """Every key that torch.cuda.memory_stats documents, with 0."""
    sizes = ("allocation", "segment", "active", "inactive_split")
    metrics = [*sizes, "allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes"]
    pools = ("all", "large_pool", "small_pool")
    figures = ("current", "peak", "allocated", "freed")
    stats = {f"{metric}.{pool}.{figure}": 0 for metric in metrics for pool in pools for figure in figures}
    stats.update(num_alloc_retries=0, num_ooms=0)
    return stats


class device:
    """Context manager that makes a device the current one."""

    def __init__(self, device: Device) -> None:
        self.idx = _index(device)
        self.before = _current

    def __enter__(self) -> device:
        self.before = _current
        set_device(self.idx)
        return self

    def __exit__(self, *exc: object) -> None:
        set_device(self.before)


def manual_seed(seed: int) -> None:
    """Seed the devices' generator, which is the CPU's."""
    torch.default_generator.manual_seed(int(seed))


manual_seed_all = manual_seed


def seed() -> None:
    """Seed the generator from the system's randomness."""
    torch.default_generator.seed()


def initial_seed() -> int:
    """Seed of the generator."""
    return int(torch.initial_seed())


def get_rng_state(device: Device = "npu") -> torch.Tensor:
    """State of the generator, a uint8 tensor as torch.get_rng_state gives it."""
    return torch.get_rng_state()


def set_rng_state(new_state: torch.Tensor, device: Device = "npu") -> None:
    """Set the generator to a state from get_rng_state."""
    torch.set_rng_state(new_state)


def get_rng_state_all() -> list[torch.Tensor]:
    """One state a device (all are the same)."""
    return [torch.get_rng_state() for _ in range(device_count())]


def set_rng_state_all(new_states: Iterable[torch.Tensor]) -> None:
    """Set the generator to the current device's state."""
    torch.set_rng_state(list(new_states)[_current])


class _Generators:
    """Every device index has the CPU's one generator."""

    def __len__(self) -> int:
        return device_count()

    def __getitem__(self, index: int) -> torch.Generator:
        if not 0 <= index < device_count():
            raise IndexError(f"no generator of device {index}: there are {device_count()} devices")
        return torch.default_generator


default_generators = _Generators()


def _lazy_call(function: Callable[[], Any], **kwargs: Any) -> None:
    """Call at once what torch.cuda would keep until the first use of a device."""
    function()


class Event:
    """A point in time: work on the CPU is done when it is recorded."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._at: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Note the time."""
        self._at = time.perf_counter()

    def query(self) -> bool:
        """Say that all work is done."""
        return True

    def synchronize(self) -> None:
        """Return at once."""

    def wait(self, stream: Stream | None = None) -> None:
        """Return at once."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to ``end_event``; RuntimeError unless both were recorded."""
        if self._at is None or end_event._at is None:
            raise RuntimeError("both events must be recorded before elapsed_time")
        return (end_event._at - self._at) * 1000.0


class Stream:
    """A queue of work that is always empty, because the CPU has done it."""

    def __init__(self, device: Device = None, priority: int = 0) -> None:
        self.device_index = _index(device)

    def wait_stream(self, stream: Stream) -> None:
        """Return at once."""

    def wait_event(self, event: Event) -> None:
        """Return at once."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record ``event``, or a new one."""
        event = event or Event()
        event.record(self)
        return event

    def query(self) -> bool:
        """Say that all work is done."""
        return True

    def synchronize(self) -> None:
        """Return at once."""


class stream:
    """Context manager that does nothing: there are no streams to choose."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


def current_stream(device: Device = None) -> Stream:
    """Make a stream of the device; one is as good as another."""
    return Stream(device)


default_stream = current_stream

FloatTensor = torch.FloatTensor
HalfTensor = torch.HalfTensor
BFloat16Tensor = torch.BFloat16Tensor
LongTensor = torch.LongTensor
IntTensor = torch.IntTensor
ByteTensor = torch.ByteTensor
BoolTensor = torch.BoolTensor
DoubleTensor = torch.FloatTensor
"""An NPU has no float64: transfer_to_npu makes torch.cuda.DoubleTensor this, with a warning."""


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.npu.{name}")
