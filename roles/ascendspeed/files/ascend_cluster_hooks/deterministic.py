"""Deterministic computation: ``seed_all(mode=True)`` of ptdbg_ascend, or the same without that package.

The recipe's ``from ptdbdg_ascced import seed_all`` is a misspelling of ptdbg_ascend
(https://gitee.com/ascend/tools/tree/master/debug/accuracy_tools/ptdbg_ascend). What that function does:
seed Python, PYTHONHASHSEED, numpy, torch and the NPUs, and call ``torch.use_deterministic_algorithms(mode)``.
Megatron-LM seeds again by itself in ``pretrain(...)``, from the same --seed and with offsets for each rank.
HCCL_DETERMINISTIC is set by the launch script.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
from typing import Any, Callable, Sequence

PACKAGE = "ptdbg_ascend"
DEFAULT_SEED = 1234  # of Megatron-LM's --seed, and of seed_all


def seed_of(arguments: Sequence[str]) -> int:
    """The value of ``--seed`` in the words of a command line; the last one counts, as for argparse."""
    seed = DEFAULT_SEED
    for position, word in enumerate(arguments):
        if word == "--seed" and position + 1 < len(arguments):
            seed = int(arguments[position + 1])
        elif word.startswith("--seed="):
            seed = int(word[len("--seed=") :])
    return seed


def own_seed_all(seed: int, mode: bool) -> None:
    """What ``ptdbg_ascend.seed_all`` does on a machine with torch_npu."""
    import numpy as np  # type: ignore[import-not-found,unused-ignore]
    import torch  # type: ignore[import-not-found,unused-ignore]
    import torch_npu  # type: ignore[import-not-found,import-untyped,unused-ignore]

    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode)
    torch_npu.npu.manual_seed_all(seed)
    torch_npu.npu.manual_seed(seed)


def find_seed_all() -> tuple[Callable[..., Any], str]:
    """The function to call, and where it comes from.

    Raises:
        ImportError: ptdbg_ascend is installed but cannot be imported. To pass over it would hide a broken environment.

    """
    if importlib.util.find_spec(PACKAGE) is None:
        return own_seed_all, f"the project's own seed_all, as {PACKAGE} is not installed"
    return importlib.import_module(PACKAGE).seed_all, f"seed_all of {PACKAGE}"


def install(arguments: Sequence[str]) -> str:
    """Make the computation of this process deterministic."""
    seed = seed_of(arguments)
    seed_all, source = find_seed_all()
    seed_all(seed=seed, mode=True)
    return f"deterministic computation is on, torch.use_deterministic_algorithms(True), seed {seed}, by {source}"
