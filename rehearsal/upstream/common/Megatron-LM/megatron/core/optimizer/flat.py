"""Adam on one flat tensor, and what chains of optimizers have in common."""
from __future__ import annotations

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


class Chain:
    """Several optimizers as one; a subclass says which parameter groups it has."""

    def __init__(self, chained_optimizers: list[FlatOptimizer]) -> None:
        self.chained_optimizers = chained_optimizers

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
