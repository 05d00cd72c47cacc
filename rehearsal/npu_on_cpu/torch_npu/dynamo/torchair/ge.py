"""torchair.ge: the names that stand in the annotations of MindSpeed's builders, and refusals for those of a graph."""

from __future__ import annotations

from typing import Any

from torch_npu._guard import not_in_rehearsal

__all__ = ["DataType", "Tensor", "TensorSpec"]


class Tensor:
    """A tensor of a graph."""


class TensorSpec:
    """Shape and type of one."""


class DataType:
    """Types of elements."""


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torchair.ge.{name}")
