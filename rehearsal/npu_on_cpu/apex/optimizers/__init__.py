"""apex.optimizers: the two names that Megatron imports. Neither works on an NPU; AscendSpeed puts its AdamW for the first."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer


class FusedAdam(Optimizer):
    """Stands until AscendSpeed's adaptor puts its own AdamW here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "apex.optimizers.FusedAdam is CUDA's and not part of the rehearsal's CPU stand-in: AscendSpeed's adaptor is "
            "not active. Is 'import ascendspeed.megatron_adaptor' in pretrain_gpt.py (ascendspeed -P), or 'import mindspeed.megatron_adaptor'?"
        )


class FusedSGD(Optimizer):
    """CUDA's alone, on an NPU too (--optimizer sgd)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("apex.optimizers.FusedSGD is CUDA's and not part of the rehearsal's CPU stand-in")
