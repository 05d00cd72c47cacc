"""apex.normalization: layer norm, as Megatron imports it."""

from . import fused_layer_norm

__all__ = ["fused_layer_norm"]
