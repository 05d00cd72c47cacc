"""Small helpers of the datasets."""
from __future__ import annotations

import logging
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any, Sequence

logger = logging.getLogger(__name__)


class Split(Enum):
    """The three splits."""

    train = 0
    valid = 1
    test = 2


def compile_helpers() -> None:
    """Run make in this folder, at every start; exits with status 1 when it fails."""
    folder = str(Path(__file__).resolve().parent)
    if subprocess.run(["make", "-C", folder], check=False).returncode != 0:
        log_single_rank(logger, logging.ERROR, "Failed to compile the C++ dataset helper functions")
        sys.exit(1)


def log_single_rank(log: logging.Logger, *args: Any, rank: int = 0) -> None:
    """Log on one rank only."""
    import torch

    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == rank:
        log.log(*args)


def normalize(weights: Sequence[float]) -> list[float]:
    """Weights that add up to 1."""
    total = sum(weights)
    return [weight / total for weight in weights]
