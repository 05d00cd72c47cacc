"""Faults to rehearse, switched on by environment variables (see README.md)."""
from __future__ import annotations

import os
import sys
import time


def _at(name: str, iteration: int) -> bool:
    return os.environ.get(name, "") == str(iteration)


def _on_this_node(name: str) -> bool:
    """Whether the fault is for this node; torchrun gives the node's rank as GROUP_RANK."""
    return os.environ.get(name, "") in ("", os.environ.get("GROUP_RANK", "0"))


def after_iteration(iteration: int) -> None:
    """Whatever is to go wrong after this iteration."""
    if _at("STANDIN_EXIT_ZERO_AT", iteration):
        sys.exit()
    if _at("STANDIN_DIE_AT", iteration) and _on_this_node("STANDIN_DIE_NODE"):
        raise RuntimeError(f"rehearsed fault after iteration {iteration} (STANDIN_DIE_AT)")
    if _at("STANDIN_HANG_AT", iteration) and _on_this_node("STANDIN_HANG_NODE"):
        while True:
            time.sleep(60)


def shortest_iteration() -> float:
    """Seconds that an iteration takes at least."""
    return float(os.environ.get("STANDIN_ITERATION_SECONDS") or 0)
