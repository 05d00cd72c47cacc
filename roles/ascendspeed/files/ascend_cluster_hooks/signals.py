"""Let ``--exit-signal-handler`` work with HCCL.

After each iteration Megatron-LM asks all ranks whether one got the signal; its helper
(megatron/training/dist_signal_handler.py:14-25) knows the backends nccl and gloo only and raises a bare RuntimeError for
any other, so under hccl the first iteration would be the last. The ranks' tensors belong on the accelerator there.
A MindSpeed that replaces the helper itself (mindspeed/core/megatron_basic/megatron_basic.py, get_device_wrapper) is left alone.
"""

from __future__ import annotations

import importlib
from typing import Any, Sequence

from . import module_if_there


def knows_hccl(function: Any) -> bool:
    """Tell whether the code of a function names that backend."""
    constants = getattr(getattr(function, "__code__", None), "co_consts", ())
    return any(one == "hccl" or (isinstance(one, (tuple, frozenset)) and "hccl" in one) for one in constants)


def install(arguments: Sequence[str]) -> str:
    """Name the accelerator's device whatever the backend is called."""
    handler = module_if_there("megatron.training.dist_signal_handler")
    if not hasattr(handler, "get_device") or knows_hccl(handler.get_device):
        return "nothing here needs it"

    torch = importlib.import_module("torch")

    def get_device(local_rank: Any = None) -> Any:
        return torch.device("cuda") if local_rank is None else torch.device(f"cuda:{local_rank}")

    handler.get_device = get_device
    return "--exit-signal-handler works with hccl"
