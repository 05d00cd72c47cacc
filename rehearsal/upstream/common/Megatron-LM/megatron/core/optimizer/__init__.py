"""The optimizer of a model."""
from __future__ import annotations

from typing import Any

from .flat import FlatOptimizer
from .optimizer import ChainedOptimizer


def get_megatron_optimizer(args: Any, model: Any) -> Any:
    """Adam on the flat parameters; with experts behind a chain, as upstream's is then."""
    optimizer = FlatOptimizer(model.param_buffer, args)
    return ChainedOptimizer([optimizer]) if args.num_experts else optimizer
