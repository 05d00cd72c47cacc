"""Faults of pretend NPUs, switched on by the environment variable STANDIN_NPU_FAULT, for rehearsing the check of real ones.

Its value names devices and what is wrong with each, as in ``1:hang,3:wrong``:

* ``absent``: it cannot be set, as one that is not there
* ``broken``: what is moved to it ends in the message of a torch_npu without CANN's kernels (561103)
* ``nobf16``: it refuses bfloat16, as a 910A does
* ``wrong``: a number is lost on the way to it
* ``crash``: the process dies of SIGABRT on the way to it
* ``hang``: what is moved to it never arrives
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

KINDS = ("absent", "broken", "nobf16", "wrong", "crash", "hang")


def _read(text: str) -> dict[int, str]:
    faults = {int(device): kind for device, _, kind in (one.partition(":") for one in text.split(",") if one)}
    unknown = sorted(set(faults.values()) - set(KINDS))
    if unknown:
        raise ValueError(f"STANDIN_NPU_FAULT is {text!r}: unknown {', '.join(unknown)}, expected {', '.join(KINDS)}")
    return faults


FAULTS = _read(os.environ.get("STANDIN_NPU_FAULT", ""))


def on_set(device: int) -> None:
    """Refuse a device that is absent; the message is a real one's (error code 107001)."""
    if FAULTS.get(device) == "absent":
        raise RuntimeError(f"SetDevice: NPU function error: c10_npu::SetDevice({device}), error code is 107001\n[Error]: Invalid device ID.")


def on_move(tensor: Any, device: int) -> Any:
    """Give the tensor that arrives on a device."""
    kind = FAULTS.get(device)
    if kind == "broken":
        raise RuntimeError("NPU function error: call aclnnInplaceCopy failed, error code is 561103")
    if kind == "nobf16" and tensor.dtype == torch.bfloat16:
        raise RuntimeError("call aclnnCast failed, detail:EZ1001: self not implemented for DT_BFLOAT16, should be in dtype support list [DT_FLOAT16,].")
    if kind == "crash":
        os.abort()
    while kind == "hang":
        time.sleep(60)
    if kind == "wrong":
        tensor = tensor.clone()
        tensor.view(-1)[:1] += 1
    return tensor
