"""Nothing of torch_npu.utils is part of the stand-in: each name is refused."""

from __future__ import annotations

from typing import Any

from .._guard import not_in_rehearsal


def register_asd_hook(x: Any, weight: Any) -> None:
    """Refuse silent-data-corruption detection (NPU_ASD_ENABLE=1), which is done in the NPU's hardware counters."""
    raise not_in_rehearsal("torch_npu.utils.register_asd_hook", "unset NPU_ASD_ENABLE")


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.utils.{name}")
