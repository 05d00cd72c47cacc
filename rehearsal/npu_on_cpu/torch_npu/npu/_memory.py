"""Figures of memory: nothing is counted."""

from __future__ import annotations

from ._devices import Device


def empty_cache() -> None:
    """Do nothing: there is no cache."""


def memory_allocated(device: Device = None) -> int:
    """0 bytes."""
    return 0


def memory_reserved(device: Device = None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device: Device = None) -> int:
    """0 bytes."""
    return 0


def max_memory_reserved(device: Device = None) -> int:
    """0 bytes."""
    return 0


def reset_max_memory_allocated(device: Device = None) -> None:
    """Do nothing: nothing is counted."""


def reset_peak_memory_stats(device: Device = None) -> None:
    """Do nothing: nothing is counted."""


def memory_stats(device: Device = None) -> dict[str, int]:
    """Every key that torch.cuda.memory_stats documents, with 0."""
    sizes = ("allocation", "segment", "active", "inactive_split")
    metrics = [*sizes, "allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes"]
    pools = ("all", "large_pool", "small_pool")
    figures = ("current", "peak", "allocated", "freed")
    stats = {f"{metric}.{pool}.{figure}": 0 for metric in metrics for pool in pools for figure in figures}
    stats.update(num_alloc_retries=0, num_ooms=0)
    return stats
