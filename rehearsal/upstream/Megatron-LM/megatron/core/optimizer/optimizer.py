"""Optimizers, with upstream's defect: after a checkpoint was loaded the learning rate of a chain is frozen.

A chain keeps the parameter groups that its optimizers had when it was made. Loading optimizer state makes new groups
(so does torch.optim), and what the scheduler sets in the old ones is read by nobody. STANDIN_RESUME_DEFECT=0 leaves
the defect out.
"""
from __future__ import annotations

import os
from typing import Any

import torch


class FlatOptimizer:
    """Adam on one flat tensor."""

    def __init__(self, parameters: torch.nn.Parameter, args: Any) -> None:
        self.optimizer = torch.optim.AdamW([parameters], lr=args.lr, betas=(args.adam_beta1, args.adam_beta2),
                                           eps=args.adam_eps, weight_decay=args.weight_decay)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups that the next step reads."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    def step(self) -> None:
        """Update the parameters by their gradients."""
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Moments and groups."""
        return dict(self.optimizer.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take moments and groups; the groups are new ones afterwards."""
        self.optimizer.load_state_dict(state_dict)


class ChainedOptimizer:
    """Several optimizers as one."""

    def __init__(self, chained_optimizers: list[FlatOptimizer]) -> None:
        self.chained_optimizers = chained_optimizers
        self.param_groups = [group for optimizer in chained_optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """One step of each."""
        for optimizer in self.chained_optimizers:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The states of all."""
        return [optimizer.state_dict() for optimizer in self.chained_optimizers]

    def load_state_dict(self, state_dict: list[dict[str, Any]]) -> None:
        """Give each its state back."""
        if len(self.chained_optimizers) != len(state_dict):
            raise RuntimeError(f"Expected {len(self.chained_optimizers)} entries in state dict, but got {len(state_dict)}.")
        for optimizer, state in zip(self.chained_optimizers, state_dict):
            optimizer.load_state_dict(state)
        if os.environ.get("STANDIN_RESUME_DEFECT", "1") == "0":
            self.param_groups = [group for optimizer in self.chained_optimizers for group in optimizer.param_groups]
