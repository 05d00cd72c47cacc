"""A small decoder-only language model with mixture-of-experts layers."""
from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


class _Norm(torch.nn.Module):
    """RMSNorm."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., size] to the same shape."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


class _Attention(torch.nn.Module):
    """Causal self-attention with grouped queries and rotary positions."""

    def __init__(self, hidden: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.width = heads, groups, hidden // heads
        self.qkv = torch.nn.Linear(hidden, (heads + 2 * groups) * self.width, bias=False)
        self.out = torch.nn.Linear(heads * self.width, hidden, bias=False)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = self.width // 2
        frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * frequency
        a, b = x[..., :half], x[..., half:2 * half]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), x[..., 2 * half:]], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, sequence, hidden] to the same shape."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, -1, self.width).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.groups, self.groups], dim=1)
        repeat = self.heads // self.groups
        k, v = (t.repeat_interleave(repeat, dim=1) for t in (self._rotate(k), v))
        mixed = functional.scaled_dot_product_attention(self._rotate(q), k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))


class _Experts(torch.nn.Module):
    """Feed-forward experts with SwiGLU; each token's best ``topk`` are mixed. All are computed: they are small."""

    def __init__(self, hidden: int, ffn: int, experts: int, topk: int) -> None:
        super().__init__()
        self.topk = min(topk, experts)
        self.router = torch.nn.Linear(hidden, experts, bias=False)
        self.up = torch.nn.Parameter(torch.empty(experts, hidden, 2 * ffn))
        self.down = torch.nn.Parameter(torch.empty(experts, ffn, hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, sequence, hidden] to the same shape."""
        scores = self.router(x)
        kept = scores.topk(self.topk, dim=-1)
        weights = torch.full_like(scores, float("-inf")).scatter(-1, kept.indices, kept.values).softmax(-1)
        gate, value = torch.einsum("bsh,ehf->bsef", x, self.up).chunk(2, dim=-1)
        return torch.einsum("bsef,efh,bse->bsh", functional.silu(gate) * value, self.down, weights)


class _Layer(torch.nn.Module):
    """Attention and experts, each behind a norm."""

    def __init__(self, args: Any) -> None:
        super().__init__()
        groups = args.num_query_groups if args.group_query_attention else args.num_attention_heads
        self.norm1 = _Norm(args.hidden_size, args.norm_epsilon)
        self.attention = _Attention(args.hidden_size, args.num_attention_heads, groups)
        self.norm2 = _Norm(args.hidden_size, args.norm_epsilon)
        self.experts = _Experts(args.hidden_size, args.ffn_hidden_size, args.num_experts or 1, args.moe_router_topk)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, sequence, hidden] to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.experts(self.norm2(x))


class GPTModel(torch.nn.Module):
    """Embedding, layers, output projection; everything in float32 whatever precision is asked for."""

    def __init__(self, args: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(args.padded_vocab_size, args.hidden_size)
        self.layers = torch.nn.ModuleList(_Layer(args) for _ in range(args.num_layers))
        self.norm = _Norm(args.hidden_size, args.norm_epsilon)
        self.output = torch.nn.Linear(args.hidden_size, args.padded_vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=args.init_method_std)

    @classmethod
    def from_args(cls, args: Any) -> GPTModel:
        """The model that the command line describes."""
        return cls(args)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [batch, sequence] to logits [batch, sequence, vocabulary]."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))
