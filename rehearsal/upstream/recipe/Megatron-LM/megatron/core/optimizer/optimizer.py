"""A chain of optimizers, with upstream's defect: after a checkpoint was loaded its learning rate is frozen.

A chain keeps the parameter groups that its optimizers had when it was made. Loading optimizer state makes new groups
(so does torch.optim), and what the scheduler sets in the old ones is read by nobody. STANDIN_RESUME_DEFECT=0 leaves
the defect out.
"""
from __future__ import annotations

import os
from typing import Any

from megatron.core.optimizer.flat import Chain, FlatOptimizer


class ChainedOptimizer(Chain):
    """Several optimizers as one."""

    def __init__(self, chained_optimizers: list[FlatOptimizer]) -> None:
        super().__init__(chained_optimizers)
        self.param_groups = [group for optimizer in chained_optimizers for group in optimizer.param_groups]

    def load_state_dict(self, state_dict: list[dict[str, Any]]) -> None:
        """Give each its state back."""
        super().load_state_dict(state_dict)
        if os.environ.get("STANDIN_RESUME_DEFECT", "1") == "0":
            self.param_groups = [group for optimizer in self.chained_optimizers for group in optimizer.param_groups]
