"""apex.normalization.fused_layer_norm in plain PyTorch. Source: the file of that name in apex."""

from __future__ import annotations

from typing import Sequence

import torch


def fused_layer_norm_affine(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    normalized_shape: int | Sequence[int],
    eps: float = 1e-6,
) -> torch.Tensor:
    """Layer norm over the last dimensions ``normalized_shape``, which ``weight`` and ``bias`` have; dtype of the input."""
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    return torch.nn.functional.layer_norm(input, shape, weight, bias, eps)


class FusedLayerNormAffineFunction:
    """The same under the name by which Megatron core calls it, ``apply``."""

    apply = staticmethod(fused_layer_norm_affine)
