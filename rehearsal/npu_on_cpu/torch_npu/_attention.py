"""torch_npu.npu_fusion_attention in plain PyTorch; see _ops.py for sources and gradients."""

from __future__ import annotations

import functools
from typing import Sequence

import torch
from torch import Tensor

from ._guard import not_in_rehearsal
from ._ops import MASKED, require_dtype

UNLIMITED = 2147483647
COMPRESSED = 2048
"""Side of the causal mask that sparse_mode 2 takes for sequences of any length."""

_LAYOUTS = ("BSH", "SBH", "BSND", "BNSD")


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


@functools.lru_cache(maxsize=None)
def _compressed() -> Tensor:
    """The mask that sparse_mode 2 takes, whatever the sequence: true above the diagonal."""
    return torch.ones(COMPRESSED, COMPRESSED, dtype=torch.bool).triu(1)


def _causal(mask: Tensor, rows: int, columns: int) -> Tensor:
    """The mask (rows, columns) that a compressed one stands for, from the left upper corner; ValueError when it is not that one."""
    if tuple(mask.shape) != (COMPRESSED, COMPRESSED) or not torch.equal(mask.to(torch.bool), _compressed()):
        raise ValueError(
            f"npu_fusion_attention: sparse_mode 2 takes the compressed causal mask, ({COMPRESSED}, {COMPRESSED}) and true above the diagonal, "
            f"whatever the sequence; atten_mask {tuple(mask.shape)} is another"
        )
    return torch.ones(rows, columns, dtype=torch.bool).triu(1)


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
    do nothing, with it they must agree with it. ``gen_mask_parallel`` and ``sync`` only schedule. Of the sparse modes 0 and 1
    (a mask as it is) and 2 (causal from the left upper corner, atten_mask being the compressed one) are done.

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
    if sparse_mode not in (0, 1, 2):
        raise not_in_rehearsal(f"npu_fusion_attention(sparse_mode={sparse_mode})")
    if inner_precise not in (0, 1):
        raise not_in_rehearsal(f"npu_fusion_attention(inner_precise={inner_precise})")
    if sparse_mode == 2 and atten_mask is None:
        raise ValueError("npu_fusion_attention: sparse_mode 2 takes the compressed causal mask, and there is no atten_mask")
    if not 0.0 < keep_prob <= 1.0:
        raise ValueError(f"npu_fusion_attention: keep_prob {keep_prob} is outside (0, 1]")
    dimensions = 3 if input_layout in ("SBH", "BSH") else 4
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != dimensions:
            raise ValueError(f"npu_fusion_attention: layout {input_layout} needs {dimensions} dimensions, {name} has {tensor.dim()}")
    require_dtype("npu_fusion_attention", query=query, key=key, value=value)

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
        if sparse_mode == 2:
            atten_mask = _causal(atten_mask, rows, columns)
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
