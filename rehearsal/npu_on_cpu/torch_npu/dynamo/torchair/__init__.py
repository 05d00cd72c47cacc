"""torchair, CANN's graph mode: MindSpeed's operator builders register converters to it when they are imported.

Nothing here runs a graph, so what is registered is forgotten.
Source: torch_npu/dynamo/__init__.py of Ascend/pytorch, mindspeed/op_builder/gmm_builder.py.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

from ..._guard import not_in_rehearsal
from . import ge

__all__ = ["ge", "register_fx_node_ge_converter"]

Converter = TypeVar("Converter", bound=Callable[..., Any])


def register_fx_node_ge_converter(operator: Any) -> Callable[[Converter], Converter]:
    """Take a converter of ``operator`` and forget it."""

    def forget(converter: Converter) -> Converter:
        return converter

    return forget


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torchair.{name}")
