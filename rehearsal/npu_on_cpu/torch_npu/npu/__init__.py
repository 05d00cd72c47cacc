"""The part of ``torch_npu.npu`` (also ``torch.npu`` and, redirected, ``torch.cuda``) that Megatron and AscendSpeed call.

Source of the semantics: Huawei's "PyTorch native API support list", chapter torch.cuda, which maps each name to its
``torch_npu.npu`` twin. There are LOCAL_WORLD_SIZE devices, as many as torchrun starts ranks on the node; outside of torchrun
as many as the pretend node shows in npu-smi. All of them are this CPU: nothing is counted (memory figures are 0) and nothing
has to be waited for.
"""

from __future__ import annotations

from typing import Any, Callable

import torch

from .._guard import not_in_rehearsal
from ._devices import (
    current_device,
    device,
    device_count,
    get_device_capability,
    get_device_name,
    init,
    is_available,
    is_bf16_supported,
    is_initialized,
    set_device,
)
from ._memory import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_max_memory_allocated,
    reset_peak_memory_stats,
)
from ._random import default_generators, get_rng_state, get_rng_state_all, initial_seed, manual_seed, manual_seed_all, seed, set_rng_state, set_rng_state_all
from ._streams import Event, Stream, current_stream, default_stream, stream, synchronize

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


def _lazy_call(function: Callable[[], Any], **kwargs: Any) -> None:
    """Call at once what torch.cuda would keep until the first use of a device."""
    function()


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
