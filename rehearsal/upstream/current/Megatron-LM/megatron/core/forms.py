"""The words and names of this Megatron-LM that another one has otherwise: core_v0.12.1."""
from __future__ import annotations

import os
from typing import Any

LEARNING_RATE = "{:.6E}"

#: whether a rank whose file cannot be loaded says why itself; otherwise only rank 0 does
EVERY_RANK_SAYS_WHY = True

#: whether the tracker file is written before the word that all is saved
TRACKER_BEFORE_WORD = True


def index_stem(digest: str, dataset: str, split: str) -> str:
    """How the files of an index cache begin."""
    return f"{digest}-{dataset}-{split}-"


def saved(iteration: int, folder: str, place: str) -> str:
    """The word after a save."""
    return f"  successfully saved checkpoint from iteration {iteration:7d} to {folder} {place}"


def place(tensor: tuple[int, int], pipeline: tuple[int, int]) -> str:
    """A rank's place among the shards; rank and size of each."""
    return f"[ t {tensor[0] + 1}/{tensor[1]}, p {pipeline[0] + 1}/{pipeline[1]} ]"


def refuse_nan(rank: int, iteration: int, what: str) -> None:
    """End as upstream does where it finds nan.

    Raises:
        RuntimeError: always.
    """
    device = os.environ.get("LOCAL_RANK", "0")
    raise RuntimeError(f"Rank {rank}, node {os.uname()[1]}, device {device}, iteration {iteration}: "
                       f"Unexpected result nan (message='found NaN in local {what}')")


NAN_IN_LOSS = "forward loss calculation"
NAN_IN_GRADIENTS = "grad norm for bucket #0 in backward pass before data-parallel communication collective"


def no_tracker(args: Any) -> None:
    """What follows when there is nothing to load: with --exit-on-missing-checkpoint the end, with exit status 0."""
    import torch

    if args.exit_on_missing_checkpoint:
        if args.rank == 0:
            print(">> '--exit-on-missing-checkpoint' set ... exiting. <<", flush=True)
        torch.distributed.barrier()
        raise SystemExit


def no_optimizer(message: str, say: Any) -> None:
    """Optimizer state is wanted and not there: the word, and an exception.

    Raises:
        KeyError: always.
    """
    say(message)
    raise KeyError("optimizer")
