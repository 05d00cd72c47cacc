"""torch_npu._C: of the compiled library only the options of HCCL's groups."""

from __future__ import annotations

from typing import Any

from .._guard import not_in_rehearsal
from . import _distributed_c10d

__all__ = ["_distributed_c10d"]


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu._C.{name}")
