"""Resume exactly: two defects of the pinned upstream sources that change a run when it goes on from a checkpoint.

* Megatron-LM's ``ChainedOptimizer`` (megatron/core/optimizer/optimizer.py:708-712), which every MoE model uses, keeps the
  parameter groups of its optimizers from when it was made. Loading optimizer state replaces them, and from then on the
  scheduler (megatron/training/optimizer_param_scheduler.py:132) sets learning rate and weight decay where nobody reads
  them, while the log (training.py:999) shows the scheduled value.
* AscendSpeed's router (ascendspeed/components/moe/gate.py:43-48) turns its weights to float32 in its first forward, so
  checkpoints hold them exactly, but loading copies them into bfloat16 before any forward
  (megatron/training/checkpointing.py:681-686), and the first iteration routes with rounded weights.

With both repaired, a resumed run agrees with an uninterrupted one in every printed digit. Nothing changes for a run that
loads no checkpoint, nor at a commit that lacks the class or has repaired it itself.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

from . import module_if_there

ROUTER = "TopKGate"


def current_groups(optimizer: Any) -> list[Any]:
    """The parameter groups that the chained optimizers have now."""
    return [group for one in optimizer.chained_optimizers for group in one.param_groups]


def keep_nothing(optimizer: Any, groups: Any) -> None:
    """Take the list that ``ChainedOptimizer.__init__`` assigns, which is not needed."""


def widen_routers(model: Sequence[Any]) -> int:
    """Turn the routers in the parts of ``model`` to float32 as their first forward would; returns how many."""
    routers = [module for part in model for module in part.modules() if type(module).__name__ == ROUTER]
    for router in routers:
        router.float()
    return len(routers)


def loading_exactly(load_checkpoint: Callable[..., Any], get_args: Callable[[], Any]) -> Callable[..., Any]:
    """Wrap Megatron-LM's ``load_checkpoint(model, optimizer, scheduler, …)``."""

    def load(model: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        # The distributed optimizer's buffer would lose the routers' weights earlier than it does anyway.
        if not getattr(get_args(), "use_distributed_optimizer", False):
            widen_routers(model)
        return load_checkpoint(model, *args, **kwargs)

    return load


def repair_chain(optimizers: Any) -> bool:
    """Make the groups of a chain those of its optimizers; False where upstream has no such class or did so itself."""
    chain = getattr(optimizers, "ChainedOptimizer", None)
    if chain is None or isinstance(getattr(chain, "param_groups", None), property):
        return False
    chain.param_groups = property(current_groups, keep_nothing)
    return True


def install(arguments: Sequence[str]) -> str:
    """Repair both in this process."""
    repaired = []
    if repair_chain(module_if_there("megatron.core.optimizer.optimizer")):
        repaired.append("the learning rate's schedule")
    training = module_if_there("megatron.training.training")
    global_vars = module_if_there("megatron.training.global_vars")
    if hasattr(training, "load_checkpoint") and hasattr(global_vars, "get_args"):
        training.load_checkpoint = loading_exactly(training.load_checkpoint, global_vars.get_args)
        repaired.append("the weights of AscendSpeed's routers")
    return f"{' and '.join(repaired)} survive loading a checkpoint" if repaired else "nothing here needs it"
