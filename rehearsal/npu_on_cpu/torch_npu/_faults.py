"""Faults of pretend NPUs, for rehearsing the checks of real ones.

The environment variable STANDIN_NPU_FAULT names devices and what is wrong with each, as in ``1:hang,3:wrong``; so do lines such as
``npu_fault_1=hang`` of /etc/rehearsal/faults, where a pretend node's other faults stand:

* ``absent``: it cannot be set, as one that is not there
* ``broken``: what is moved to it ends in the message of a torch_npu without CANN's kernels (561103)
* ``nobf16``: it refuses bfloat16, as a 910A does
* ``wrong``: a number is lost on the way to it
* ``crash``: the process dies of SIGABRT on the way to it
* ``hang``: what is moved to it never arrives
* ``slow``: its matrix products take several times as long
* ``wrongsum``: a number of each sum that it gets from all_reduce is wrong
* ``hangsum``: it never comes out of an all_reduce
"""

from __future__ import annotations

import functools
import os
import re
import time
from typing import Any, Callable

import torch

KINDS = ("absent", "broken", "nobf16", "wrong", "crash", "hang", "slow", "wrongsum", "hangsum")
SLOWER = 40


def _lines() -> str:
    """What the pretend node's file says, in the form of the variable."""
    try:
        with open(f"{os.environ.get('REHEARSAL_ROOT', '')}/etc/rehearsal/faults") as stream:
            return ",".join(f"{device}:{kind}" for device, kind in re.findall(r"(?m)^npu_fault_(\d+)=(.*)$", stream.read()))
    except OSError:
        return ""


def _read(text: str) -> dict[int, str]:
    faults = {int(device): kind for device, _, kind in (one.partition(":") for one in text.split(",") if one)}
    unknown = sorted(set(faults.values()) - set(KINDS))
    if unknown:
        raise ValueError(f"STANDIN_NPU_FAULT is {text!r}: unknown {', '.join(unknown)}, expected {', '.join(KINDS)}")
    return faults


FAULTS = _read(os.environ.get("STANDIN_NPU_FAULT", "") or _lines())


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


def matmul(function: Callable[..., Any], device: Callable[[], int]) -> Callable[..., Any]:
    """Wrap the product of tensors."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        result = function(*args, **kwargs)
        if FAULTS.get(device()) == "slow":
            time.sleep((SLOWER - 1) * (time.perf_counter() - begin))
        return result

    return call


def all_reduce(function: Callable[..., Any], device: Callable[[], int]) -> Callable[..., Any]:
    """Wrap torch.distributed.all_reduce."""

    @functools.wraps(function)
    def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        kind = FAULTS.get(device())
        while kind == "hangsum":
            time.sleep(60)
        work = function(tensor, *args, **kwargs)
        if kind == "wrongsum":
            if work is not None:
                work.wait()
            tensor.view(-1)[:1] += 1
        return work

    return call
