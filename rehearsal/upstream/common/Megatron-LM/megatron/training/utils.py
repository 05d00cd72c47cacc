"""Printing on one rank."""
from __future__ import annotations

from typing import Any


def is_last_rank() -> bool:
    """Whether this is the last rank of the world."""
    import torch

    return bool(torch.distributed.get_rank() == torch.distributed.get_world_size() - 1)


def print_rank_0(message: Any) -> None:
    """Print on global rank 0 (anywhere, while nothing is distributed)."""
    import torch

    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        print(message, flush=True)


def print_rank_last(message: Any) -> None:
    """Print on the last rank (anywhere, while nothing is distributed)."""
    import torch

    if not torch.distributed.is_initialized() or is_last_rank():
        print(message, flush=True)
