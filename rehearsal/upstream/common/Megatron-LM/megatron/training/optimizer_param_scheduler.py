"""Learning rate: linear warm-up, then constant, linear, cosine or inverse square root."""
from __future__ import annotations

import math
from typing import Any


def learning_rate(steps: float, init_lr: float, max_lr: float, min_lr: float, warmup_steps: float,
                  decay_steps: float, style: str) -> float:
    """Learning rate after ``steps`` samples; warm-up and decay are counted in samples too.

    Raises:
        ValueError: for an unknown style.
    """
    if warmup_steps > 0 and steps <= warmup_steps:
        return init_lr + (max_lr - init_lr) * steps / warmup_steps
    if style == "constant":
        return max_lr
    if steps > decay_steps:
        return min_lr
    if style == "inverse-square-root":
        return max(min_lr, max_lr * math.sqrt(max(warmup_steps, 1)) / math.sqrt(max(steps, 1)))
    ratio = (steps - warmup_steps) / (decay_steps - warmup_steps)
    if style == "linear":
        share = 1.0 - ratio
    elif style == "cosine":
        share = 0.5 * (math.cos(math.pi * ratio) + 1.0)
    else:
        raise ValueError(f"{style} decay style is not supported.")
    return min_lr + share * (max_lr - min_lr)


class OptimizerParamScheduler:
    """Sets the learning rate of an optimizer's groups as samples are consumed."""

    def __init__(self, optimizer: Any, args: Any) -> None:
        self.optimizer = optimizer
        self.num_steps = 0
        self.override, self.use_checkpoint = args.override_opt_param_scheduler, args.use_checkpoint_opt_param_scheduler
        if self.override and self.use_checkpoint:
            raise AssertionError("both override and use-checkpoint are set.")
        decay_iters = args.lr_decay_iters or args.train_iters
        self.decay_steps = decay_iters * args.global_batch_size
        self.warmup_steps: float = args.lr_warmup_iters * args.global_batch_size
        if args.lr_warmup_fraction is not None:
            self.warmup_steps = args.lr_warmup_fraction * self.decay_steps
        if self.warmup_steps >= self.decay_steps:
            raise AssertionError("the warm-up must end before the decay does")
        self.settings = {"init_lr": args.lr_warmup_init, "max_lr": float(args.lr), "min_lr": args.min_lr,
                         "style": args.lr_decay_style}
        self.step(0)

    def step(self, increment: int) -> None:
        """Count samples and set the learning rate."""
        self.num_steps += increment
        rate = learning_rate(self.num_steps, warmup_steps=self.warmup_steps, decay_steps=self.decay_steps,
                             **self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"num_steps": self.num_steps, "warmup_steps": self.warmup_steps, "decay_steps": self.decay_steps,
                "settings": self.settings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a checkpoint stopped; as upstream, its schedule must be this run's unless told."""
        if self.use_checkpoint:
            self.settings = {**self.settings, **state["settings"]}
            self.warmup_steps, self.decay_steps = state["warmup_steps"], state["decay_steps"]
        elif not self.override:
            for name, found, saved in (("learning rate", self.settings, state["settings"]),
                                       ("warmup iterations", self.warmup_steps, state["warmup_steps"]),
                                       ("total number of iterations", self.decay_steps, state["decay_steps"])):
                if found != saved:
                    raise AssertionError(f"OptimizerParamScheduler: class input value {found} and checkpoint"
                                         f"value {saved} for {name} do not match")
        self.step(state["num_steps"])
