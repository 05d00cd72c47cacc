"""The words and names of this Megatron-LM that another one has otherwise: April 2024."""
from __future__ import annotations

import os
from typing import Any

LEARNING_RATE = "{:.3E}"

#: whether a rank whose file cannot be loaded says why itself; otherwise only rank 0 does
EVERY_RANK_SAYS_WHY = False

#: whether the tracker file is written before the word that all is saved
TRACKER_BEFORE_WORD = False


def index_stem(digest: str, dataset: str, _split: str) -> str:
    """How the files of an index cache begin."""
    return f"{digest}-{dataset}-"


def saved(iteration: int, folder: str, _place: str) -> str:
    """The word after a save."""
    return f"  successfully saved checkpoint at iteration {iteration:7d} to {folder}"


def place(tensor: tuple[int, int], pipeline: tuple[int, int]) -> str:
    """A rank's place among the shards; rank and size of each."""
    return f"[ t {tensor[0]}, p {pipeline[0]} ]"


def refuse_nan(rank: int, _iteration: int, what: str) -> None:
    """End as upstream does where it finds nan.

    Raises:
        AssertionError: always.
    """
    raise AssertionError(f"Rank {rank}: found NaN in local {what}. node: {os.uname()[1]}")


NAN_IN_LOSS = "forward loss calculation"
NAN_IN_GRADIENTS = "grad norm in backward pass before data-parallel communication collective"


def no_tracker(_args: Any) -> None:
    """What follows when there is nothing to load: --exit-on-missing-checkpoint counts for distributed checkpoints only."""


def no_optimizer(message: str, say: Any) -> None:
    """Optimizer state is wanted and not there: the word, and exit status 0."""
    say(message)
    raise SystemExit
