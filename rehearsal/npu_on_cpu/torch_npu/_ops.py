"""The fused NPU operators that AscendSpeed calls, in plain PyTorch.

Argument lists and meanings follow Huawei's "PyTorch custom API reference" (op-plugin), one page an operator; the
page's name stands in each docstring. What a page allows and AscendSpeed does not use is refused by name. Autograd
derives the gradients, so a backward pass is exact for the forward written here.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from ._guard import not_in_rehearsal

MASKED = -10000.0
"""What a masked score is set to, as in the operators' own tests: exp() of it is 0 beside any other score."""

UNLIMITED = 2147483647
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_LAYOUTS = ("BSH", "SBH", "BSND", "BNSD")


def _require_dtype(operator: str, **tensors: Tensor) -> None:
    """Raise TypeError unless all tensors have one and the same of the dtypes float16, bfloat16, float32."""
    seen = {name: tensor.dtype for name, tensor in tensors.items()}
    if len(set(seen.values())) != 1 or next(iter(seen.values())) not in _FLOATS:
        raise TypeError(
            f"{operator} takes tensors of one dtype out of float16, bfloat16 and float32, got " + ", ".join(f"{name} {dtype}" for name, dtype in seen.items())
        )


def _to_bnsd(x: Tensor, layout: str, heads: int) -> Tensor:
    """Bring ``x`` from ``layout`` to (batch, heads, sequence, head dim)."""
    if layout == "SBH":
        return x.reshape(x.shape[0], x.shape[1], heads, -1).permute(1, 2, 0, 3)
    if layout == "BSH":
        return x.reshape(x.shape[0], x.shape[1], heads, -1).permute(0, 2, 1, 3)
    if layout == "BSND":
        return x.permute(0, 2, 1, 3)
    return x


def _from_bnsd(x: Tensor, layout: str) -> Tensor:
    """Bring ``x`` from (batch, heads, sequence, head dim) to ``layout``."""
    if layout == "SBH":
        return x.permute(2, 0, 1, 3).flatten(2)
    if layout == "BSH":
        return x.permute(0, 2, 1, 3).flatten(2)
    if layout == "BSND":
        return x.permute(0, 2, 1, 3)
    return x


def _head_count(name: str, x: Tensor, layout: str, head_dim: int) -> int:
    """Number of heads in a tensor of ``layout``."""
    if layout in ("SBH", "BSH"):
        if x.shape[-1] % head_dim:
            raise ValueError(f"npu_fusion_attention: {name} is {x.shape[-1]} wide, not a multiple of head dim {head_dim}")
        return int(x.shape[-1]) // head_dim
    return int(x.shape[2] if layout == "BSND" else x.shape[1])


def _check_band(mask: Tensor, rows: int, columns: int, pre: int, next_: int) -> None:
    """Raise ValueError when ``mask`` leaves a score open that pre_tockens or next_tockens close."""
    offset = torch.arange(columns).unsqueeze(0) - torch.arange(rows).unsqueeze(1)
    outside = (offset > next_) | (-offset > pre)
    if bool((outside & ~mask).any()):
        raise ValueError(
            f"npu_fusion_attention: atten_mask leaves scores open outside pre_tockens={pre}, next_tockens={next_}; "
            "the NPU's answer is wrong then (in sparse_mode 0 they must agree)"
        )


def npu_fusion_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_num: int,
    input_layout: str,
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = UNLIMITED,
    next_tockens: int = UNLIMITED,
    inner_precise: int = 0,
    prefix: Sequence[int] | None = None,
    actual_seq_qlen: Sequence[int] | None = None,
    actual_seq_kvlen: Sequence[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """Attention: ``dropout(softmax(mask(scale * (pse + query @ key^T), atten_mask)), keep_prob) @ value``.

    Source: page torch_npu.npu_fusion_attention. Layouts BSH, SBH, BSND and BNSD (TND is refused); float16, bfloat16
    or float32, one dtype for all; ``head_num`` is the query's, key and value may have fewer heads by a whole factor.
    ``pse`` broadcasts to (B, N, Sq, Skv). ``atten_mask`` (bool or uint8, true or 1 where a score does not count) has
    the shape (Sq, Skv), (1, 1, Sq, Skv), (B, 1, Sq, Skv) or (B, N, Sq, Skv); without it pre_tockens and next_tockens
    do nothing, with it they must agree with it. ``gen_mask_parallel`` and ``sync`` only schedule.

    Scores and softmax are computed in float32. Returns attention_out in the query's layout and dtype, the softmax's
    maxima and sums (B, N, Sq, 8) in float32, an empty tensor, and seed, offset, length of the dropout mask, all 0.
    """
    if input_layout == "TND":
        raise not_in_rehearsal("npu_fusion_attention(input_layout='TND')")
    if input_layout not in _LAYOUTS:
        raise ValueError(f"npu_fusion_attention: input_layout {input_layout!r} is none of {', '.join(_LAYOUTS)}, TND")
    for name, given in (
        ("padding_mask", padding_mask),
        ("prefix", prefix),
        ("actual_seq_qlen", actual_seq_qlen),
        ("actual_seq_kvlen", actual_seq_kvlen),
    ):
        if given is not None:
            raise not_in_rehearsal(f"npu_fusion_attention({name}=…)")
    if sparse_mode not in (0, 1):
        raise not_in_rehearsal(f"npu_fusion_attention(sparse_mode={sparse_mode})")
    if inner_precise not in (0, 1):
        raise not_in_rehearsal(f"npu_fusion_attention(inner_precise={inner_precise})")
    if not 0.0 < keep_prob <= 1.0:
        raise ValueError(f"npu_fusion_attention: keep_prob {keep_prob} is outside (0, 1]")
    dimensions = 3 if input_layout in ("SBH", "BSH") else 4
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != dimensions:
            raise ValueError(f"npu_fusion_attention: layout {input_layout} needs {dimensions} dimensions, {name} has {tensor.dim()}")
    _require_dtype("npu_fusion_attention", query=query, key=key, value=value)

    if dimensions == 3:
        if query.shape[-1] % head_num:
            raise ValueError(f"npu_fusion_attention: query is {query.shape[-1]} wide, not a multiple of head_num {head_num}")
        head_dim = int(query.shape[-1]) // head_num
    else:
        head_dim = int(query.shape[-1])
        if _head_count("query", query, input_layout, head_dim) != head_num:
            raise ValueError(f"npu_fusion_attention: head_num {head_num} disagrees with the query's shape {tuple(query.shape)}")
    kv_heads = _head_count("key", key, input_layout, head_dim)
    if kv_heads == 0 or head_num % kv_heads:
        raise ValueError(f"npu_fusion_attention: {head_num} query heads are no whole multiple of {kv_heads} key heads")

    q = _to_bnsd(query, input_layout, head_num)
    k = _to_bnsd(key, input_layout, kv_heads)
    v = _to_bnsd(value, input_layout, kv_heads)
    if kv_heads != head_num:
        k = torch.repeat_interleave(k, head_num // kv_heads, dim=1)
        v = torch.repeat_interleave(v, head_num // kv_heads, dim=1)
    scores = torch.matmul(q.float(), k.float().transpose(-1, -2))
    if pse is not None:
        if pse.dim() != 4 or pse.shape[-1] != scores.shape[-1] or pse.shape[-2] not in (1, scores.shape[-2]):
            raise not_in_rehearsal(f"npu_fusion_attention(pse of shape {tuple(pse.shape)})", "no compressed alibi")
        scores = scores + pse.float()
    scores = scores * scale
    if atten_mask is not None:
        if atten_mask.dtype not in (torch.bool, torch.uint8):
            raise TypeError(f"npu_fusion_attention: atten_mask is {atten_mask.dtype}, not bool or uint8")
        rows, columns = scores.shape[-2:]
        if tuple(atten_mask.shape[-2:]) != (rows, columns) or atten_mask.dim() not in (2, 4):
            raise ValueError(
                f"npu_fusion_attention: atten_mask {tuple(atten_mask.shape)} is none of (Sq, Skv), (1, 1, Sq, Skv), "
                f"(B, 1, Sq, Skv), (B, N, Sq, Skv) with Sq={rows}, Skv={columns}"
            )
        mask = atten_mask.to(torch.bool)
        if sparse_mode == 0:
            _check_band(mask, rows, columns, pre_tockens, next_tockens)
        scores = scores.masked_fill(mask, MASKED)
    probabilities = torch.softmax(scores, dim=-1)
    with torch.no_grad():
        maxima = scores.amax(dim=-1, keepdim=True)
        sums = torch.exp(scores - maxima).sum(dim=-1, keepdim=True)
    if keep_prob < 1.0:
        probabilities = torch.dropout(probabilities, 1.0 - keep_prob, True)
    out = torch.matmul(probabilities.to(v.dtype), v)
    eight = (*maxima.shape[:-1], 8)
    return _from_bnsd(out, input_layout), maxima.expand(eight), sums.expand(eight), query.new_empty(0), 0, 0, 0


def npu_rms_norm(self: Tensor, gamma: Tensor, epsilon: float = 1e-06) -> tuple[Tensor, Tensor]:
    """Root mean square norm: ``self * rstd * gamma`` with ``rstd = 1 / sqrt(mean(self^2) + epsilon)``.

    Source: page torch_npu.npu_rms_norm. ``gamma``'s shape is the last dimensions of ``self``, over which the mean
    goes. float16, bfloat16 or float32; squares and rstd are computed in float32. Returns the result in ``self``'s
    dtype and rstd, float32, with those last dimensions 1.
    """
    _require_dtype("npu_rms_norm", self=self)
    _require_dtype("npu_rms_norm", gamma=gamma)
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
    _require_dtype("npu_swiglu", self=self)
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
    _require_dtype("npu_scaled_masked_softmax", x=x)
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
