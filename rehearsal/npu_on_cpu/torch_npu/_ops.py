"""The fused NPU operators that AscendSpeed and MindSpeed call, in plain PyTorch; attention and products of groups have files of their own.

Argument lists and meanings follow Huawei's "PyTorch custom API reference" (op-plugin), one page an operator; the
page's name stands in each docstring. What a page allows and neither of them uses is refused by name. Autograd
derives the gradients, so a backward pass is exact for the forward written here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._guard import not_in_rehearsal

MASKED = -10000.0
"""What a masked score is set to, as in the operators' own tests: exp() of it is 0 beside any other score."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def require_dtype(operator: str, **tensors: Tensor) -> None:
    """Raise TypeError unless all tensors have one and the same of the dtypes float16, bfloat16, float32."""
    seen = {name: tensor.dtype for name, tensor in tensors.items()}
    if len(set(seen.values())) != 1 or next(iter(seen.values())) not in _FLOATS:
        raise TypeError(
            f"{operator} takes tensors of one dtype out of float16, bfloat16 and float32, got " + ", ".join(f"{name} {dtype}" for name, dtype in seen.items())
        )


def npu_rms_norm(self: Tensor, gamma: Tensor, epsilon: float = 1e-06) -> tuple[Tensor, Tensor]:
    """Root mean square norm: ``self * rstd * gamma`` with ``rstd = 1 / sqrt(mean(self^2) + epsilon)``.

    Source: page torch_npu.npu_rms_norm. ``gamma``'s shape is the last dimensions of ``self``, over which the mean
    goes. float16, bfloat16 or float32; squares and rstd are computed in float32. Returns the result in ``self``'s
    dtype and rstd, float32, with those last dimensions 1.
    """
    require_dtype("npu_rms_norm", self=self)
    require_dtype("npu_rms_norm", gamma=gamma)
    dims = gamma.dim()
    if dims == 0 or tuple(self.shape[-dims:]) != tuple(gamma.shape):
        raise ValueError(f"npu_rms_norm: gamma {tuple(gamma.shape)} is not the end of the input's shape {tuple(self.shape)}")
    wide = self.float()
    rstd = torch.rsqrt(wide.pow(2).mean(dim=list(range(-dims, 0)), keepdim=True) + epsilon)
    return ((wide * rstd).to(self.dtype) * gamma).to(self.dtype), rstd


def npu_swiglu(self: Tensor, dim: int = -1) -> Tensor:
    """Gate: ``silu(a) * b`` where a and b are the halves of ``self`` along ``dim``.

    Source: page torch_npu.npu_swiglu. float16, bfloat16 or float32; ``self.shape[dim]`` is even and halved in the result.
    """
    require_dtype("npu_swiglu", self=self)
    if self.shape[dim] % 2:
        raise ValueError(f"npu_swiglu: dimension {dim} of {tuple(self.shape)} is odd")
    first, second = torch.chunk(self, 2, dim=dim)
    return torch.nn.functional.silu(first) * second


def npu_rotary_mul(self: Tensor, r1: Tensor, r2: Tensor, rotary_mode: str = "half") -> Tensor:
    """Rotary embedding: ``self * r1 + cat(-b, a) * r2`` where a and b are the halves of ``self``'s last dimension.

    Source: page torch_npu.npu_rotary_mul. Four dimensions each; r1 (cosines) and r2 (sines) broadcast to ``self`` and
    are as wide as it in the last one, which is even. rotary_mode "interleave" of later versions is refused.
    """
    if rotary_mode != "half":
        raise not_in_rehearsal(f"npu_rotary_mul(rotary_mode={rotary_mode!r})")
    for name, tensor in (("self", self), ("r1", r1), ("r2", r2)):
        if tensor.dim() != 4:
            raise ValueError(f"npu_rotary_mul: {name} has {tensor.dim()} dimensions, not 4")
        if tensor.shape[-1] != self.shape[-1]:
            raise ValueError(f"npu_rotary_mul: {name} is {tensor.shape[-1]} wide, the input {self.shape[-1]}")
    if self.shape[-1] % 2:
        raise ValueError(f"npu_rotary_mul: the last dimension of {tuple(self.shape)} is odd")
    first, second = torch.chunk(self, 2, dim=-1)
    return self * r1 + torch.cat((-second, first), dim=-1) * r2


def npu_scaled_masked_softmax(x: Tensor, mask: Tensor, scale: float = 1.0, fixed_triu_mask: bool = False) -> Tensor:
    """Softmax of ``mask(x * scale)`` over the last dimension.

    Source: page torch_npu.npu_scaled_masked_softmax. ``x`` has four dimensions, float16, bfloat16 or float32, the last
    two of them from 32 to 4096 and multiples of 32. ``mask`` is bool, true where a score does not count, and
    broadcasts to ``x``. fixed_triu_mask uses the upper triangle above the diagonal in its place. Computed in float32.
    """
    require_dtype("npu_scaled_masked_softmax", x=x)
    if x.dim() != 4 or any(size < 32 or size > 4096 or size % 32 for size in x.shape[-2:]):
        raise ValueError(f"npu_scaled_masked_softmax: x is {tuple(x.shape)}; it needs four dimensions, the last two from 32 to 4096 and multiples of 32")
    if fixed_triu_mask:
        mask = torch.ones(tuple(x.shape[-2:]), dtype=torch.bool).triu(1)
    if mask.dtype != torch.bool:
        raise TypeError(f"npu_scaled_masked_softmax: mask is {mask.dtype}, not bool")
    return torch.softmax((x.float() * scale).masked_fill(mask, MASKED), dim=-1).to(x.dtype)


def npu_apply_adam_w(
    beta1_power: float,
    beta2_power: float,
    lr: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    grad: Tensor,
    max_grad_norm: Tensor | None,
    amsgrad: bool | None,
    maximize: bool | None,
    *,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of AdamW on ``out`` = (parameter, first moment, second moment), changed in place and returned.

    Source: page torch_npu.npu_apply_adam_w and the operator's test: ``beta1_power`` and ``beta2_power`` are the powers
    *before* this step (beta ** (step - 1)), and the step multiplies them by beta once more. ``grad`` has the
    parameter's shape. amsgrad and the form without ``out`` are refused.
    """
    if out is None:
        raise not_in_rehearsal("npu_apply_adam_w without out=(var, m, v)")
    if amsgrad or max_grad_norm is not None:
        raise not_in_rehearsal("npu_apply_adam_w(amsgrad=True)")
    parameter, first, second = out
    if not parameter.shape == first.shape == second.shape == grad.shape:
        raise ValueError(
            f"npu_apply_adam_w: shapes differ: var {tuple(parameter.shape)}, m {tuple(first.shape)}, v {tuple(second.shape)}, grad {tuple(grad.shape)}"
        )
    slope = -grad if maximize else grad
    parameter.mul_(1 - lr * weight_decay)
    first.mul_(beta1).add_(slope, alpha=1 - beta1)
    second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    denominator = (second / (1 - beta2_power * beta2)).sqrt_().add_(epsilon)
    parameter.addcdiv_(first, denominator, value=-lr / (1 - beta1_power * beta1))
    return parameter, first, second
