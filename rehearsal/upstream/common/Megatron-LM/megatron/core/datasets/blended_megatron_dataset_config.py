"""Settings of a dataset, and the arithmetic of ``--split``."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from megatron.core.datasets.utils import Split, normalize


@dataclass
class BlendedMegatronDatasetConfig:
    """What a dataset is made from; one data prefix only."""

    random_seed: int
    sequence_length: int
    blend: list[str] | None = None
    split: str | None = None
    split_matrix: list[tuple[float, float] | None] = field(init=False, default_factory=list)
    path_to_cache: str | None = None
    mmap_bin_files: bool = True
    tokenizer: Any = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built, and work out the splits."""
        if self.blend is None:
            raise AssertionError("one of either blend or blend_per_split must be provided")
        if self.split is None:
            raise AssertionError("both blend and split must be provided")
        if len(self.blend) != 1:
            raise NotImplementedError("the stand-in reads one data prefix, not a blend")
        self.split_matrix = split_matrix(self.split)


def split_matrix(split: str) -> list[tuple[float, float] | None]:
    """``"90,10,0"`` to the share of the documents of each split: ``[(0, 0.9), (0.9, 1.0), None]``."""
    shares = [float(number) for number in re.findall(r"[.0-9]+", split)]
    shares = normalize(shares + [0.0] * (len(Split) - len(shares)))
    # The first bound is a whole 0, as in upstream's sum: it shows in the description that is hashed.
    bounds: list[float] = [0]
    for share in shares:
        bounds.append(bounds[-1] + share)
    return [(begin, end) if end > begin else None for begin, end in zip(bounds[:-1], bounds[1:])]
