"""CPU stand-in for Huawei's torch_npu, for rehearsals without any NPU.

Everything asked of an "npu" device is done on the CPU and the collectives of hccl are done by gloo; after
``torch_npu.contrib.transfer_to_npu`` so is what is asked of "cuda" and nccl. What is not listed here is refused by name.
It refuses to load where an NPU or another torch_npu is present.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import torch

from ._guard import is_stand_in, not_in_rehearsal, refuse_beside_the_real_thing

refuse_beside_the_real_thing("torch_npu", sys.path)

from . import _C, _grouped, dynamo, npu
from ._attention import npu_fusion_attention
from ._device import install as _install
from ._grouped import npu_grouped_matmul
from ._ops import (
    npu_apply_adam_w,
    npu_rms_norm,
    npu_rotary_mul,
    npu_scaled_masked_softmax,
    npu_swiglu,
)

__all__ = [
    "_C",
    "dynamo",
    "npu",
    "npu_apply_adam_w",
    "npu_fusion_attention",
    "npu_grouped_matmul",
    "npu_rms_norm",
    "npu_rotary_mul",
    "npu_scaled_masked_softmax",
    "npu_swiglu",
    "unsupported_dtype",
]


def _version() -> str:
    """Version of the installed stand-in, which its wheel borrows from the torch_npu it stands for."""
    for found in metadata.distributions(name="torch_npu"):
        if is_stand_in(found):
            return found.version
    return "0+rehearsal"


__version__ = _version()
unsupported_dtype = [torch.quint8, torch.quint4x2, torch.quint2x4, torch.qint32, torch.qint8]
"""Types of elements that an NPU does not have (torch_npu/_init/registry/backend.py of Ascend/pytorch, v2.7.1)."""

_install()
_grouped.install()


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.{name}")
