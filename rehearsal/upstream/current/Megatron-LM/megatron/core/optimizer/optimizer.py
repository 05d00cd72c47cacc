"""A chain of optimizers, which asks them for their parameter groups each time: loading state leaves nothing stale."""
from __future__ import annotations

from typing import Any

from megatron.core.optimizer.flat import Chain


class ChainedOptimizer(Chain):
    """Several optimizers as one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, as the next step reads them."""
        return [group for optimizer in self.chained_optimizers for group in optimizer.param_groups]
