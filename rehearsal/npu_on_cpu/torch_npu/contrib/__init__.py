"""torch_npu.contrib: only transfer_to_npu is part of the stand-in."""

from __future__ import annotations

from typing import Any

from .._guard import not_in_rehearsal


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.contrib.{name}")
