"""CPU stand-in for the apex of Ascend: only the names that Megatron-LM imports, AscendSpeed replaces most of them.

It refuses to load without the rehearsal's torch_npu, hence wherever that one refuses to, and beside another apex.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

try:
    _guard = importlib.import_module("torch_npu._guard")
except ModuleNotFoundError as _error:
    raise ImportError("the rehearsal's apex only loads together with the rehearsal's torch_npu, which is not here") from _error

_guard.refuse_beside_the_real_thing("apex", sys.path)

from . import multi_tensor_apply, normalization, optimizers

__all__ = ["multi_tensor_apply", "normalization", "optimizers"]


def __getattr__(name: str) -> Any:
    raise _guard.not_in_rehearsal(f"apex.{name}")
