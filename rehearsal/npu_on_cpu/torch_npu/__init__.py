"""CPU stand-in for Huawei's torch_npu, for rehearsals without any NPU.

Everything asked of an "npu" device is done on the CPU and the collectives of hccl are done by gloo; after
``torch_npu.contrib.transfer_to_npu`` so is what is asked of "cuda" and nccl. What is not listed here is refused by name.
It refuses to load where an NPU or another torch_npu is present.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

from ._guard import is_stand_in, not_in_rehearsal, refuse_beside_the_real_thing

refuse_beside_the_real_thing("torch_npu", sys.path)

from . import npu
from ._device import install as _install
from ._ops import (
    npu_apply_adam_w,
    npu_fusion_attention,
    npu_rms_norm,
    npu_rotary_mul,
    npu_scaled_masked_softmax,
    npu_swiglu,
)

__all__ = [
    "npu",
    "npu_apply_adam_w",
    "npu_fusion_attention",
    "npu_rms_norm",
    "npu_rotary_mul",
    "npu_scaled_masked_softmax",
    "npu_swiglu",
]


def _version() -> str:
    """Version of the installed stand-in, which its wheel borrows from the torch_npu it stands for."""
    for found in metadata.distributions(name="torch_npu"):
        if is_stand_in(found):
            return found.version
    return "0+rehearsal"


__version__ = _version()
_install()


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.{name}")
