"""torch_npu.dynamo: as the real one, it makes torchair a module of its own (``sys.modules["torchair"]``)."""

from __future__ import annotations

import sys
from typing import Any

from .._guard import not_in_rehearsal
from . import torchair

__all__ = ["torchair"]

sys.modules["torchair"] = torchair


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.dynamo.{name}")
