"""apex.multi_tensor_apply: the function that AscendSpeed replaces by its own."""

from __future__ import annotations

from typing import Any, Callable, Sequence


class MultiTensorApply:
    """Calls an operator on lists of tensors. Source: apex/multi_tensor_apply/multi_tensor_apply.py."""

    available = True

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size

    def __call__(self, op: Callable[..., Any], noop_flag_buffer: Any, tensor_lists: Sequence[Any], *args: Any) -> Any:
        """Return ``op(chunk_size, noop_flag_buffer, tensor_lists, *args)``."""
        return op(self.chunk_size, noop_flag_buffer, tensor_lists, *args)


multi_tensor_applier = MultiTensorApply(2048 * 32)
