"""Products of groups: the experts' matrices of ``--moe-grouped-gemm``, in plain PyTorch; see _ops.py for sources and gradients.

With ``--transformer-impl transformer_engine`` MindSpeed calls torch_npu.npu_grouped_matmul. With ``local`` it calls two operators of
its own (mindspeed/ops/gmm.py), which it compiles against CANN at their first use: here they have kernels of PyTorch.
"""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import Tensor

from ._guard import not_in_rehearsal
from ._ops import require_dtype

_UNUSED = (
    "bias",
    "scale",
    "offset",
    "antiquant_scale",
    "antiquant_offset",
    "per_token_scale",
    "activation_input",
    "activation_quant_scale",
    "activation_quant_offset",
    "act_type",
    "output_dtype",
    "tuning_config",
)
"""Keywords of npu_grouped_matmul that only None, or for act_type 0, may be given here."""

_KERNELS: list[Any] = []
"""The library of kernels, kept alive: they go with it."""


def _bounds(operator: str, group_list: Tensor, running_sums: bool, length: int) -> list[tuple[int, int]]:
    """First and one past the last of each group along an axis of ``length``; ValueError unless the groups fill it in order."""
    if group_list.dim() != 1 or group_list.dtype != torch.int64:
        raise ValueError(f"{operator}: group_list is {group_list.dtype} of shape {tuple(group_list.shape)}, not int64 of one dimension")
    ends = [0, *(group_list if running_sums else torch.cumsum(group_list, dim=0)).tolist()]
    if any(first > last for first, last in zip(ends, ends[1:])):
        raise ValueError(f"{operator}: group_list {group_list.tolist()} {'goes down' if running_sums else 'is negative'}")
    if ends[-1] != length:
        raise ValueError(f"{operator}: group_list {group_list.tolist()} ends at {ends[-1]} of {length}; what belongs to no group is undefined on an NPU")
    return list(zip(ends, ends[1:]))


def _rows(operator: str, x: Tensor, weights: Sequence[Tensor], groups: Sequence[tuple[int, int]]) -> Tensor:
    """Multiply each group of rows of ``x`` by the weight of that group."""
    if len(weights) != len(groups):
        raise ValueError(f"{operator}: {len(weights)} weights for {len(groups)} groups")
    return torch.cat([x[first:last] @ one for (first, last), one in zip(groups, weights)])


def npu_grouped_matmul(
    x: Sequence[Tensor],
    weight: Sequence[Tensor],
    *,
    group_list: Tensor | None = None,
    split_item: int = 0,
    group_type: int | None = None,
    group_list_type: int = 0,
    **unused: object,
) -> list[Tensor]:
    """One product a group of rows, or of columns, of ``x``, in a list of one tensor.

    Source: page torch_npu.npu_grouped_matmul. ``x`` is one tensor, float16, bfloat16 or float32 as the weights. ``group_list``, int64,
    holds the running sums of the groups' sizes (group_list_type 0) or the sizes (1).

    * group_type 0: x (M, K), weights one (G, K, N) or G of (K, N); the rows of x are grouped; the result is (M, N).
    * group_type 2: x (M, K), one weight (K, N); the columns of x and the rows of the weight are grouped; the result is (G, M, N).

    Refused: bias, quantization, activation, several x, split_item 0 and 1 (a result a group), group lists that are no tensor.
    """
    name = "npu_grouped_matmul"
    for keyword, value in unused.items():
        if keyword not in _UNUSED:
            raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
        if value is not None and not (keyword == "act_type" and value == 0):
            raise not_in_rehearsal(f"{name}({keyword}=…)")
    if not isinstance(group_list, Tensor):
        raise not_in_rehearsal(f"{name}(group_list={group_list!r})", "the groups are given by a tensor")
    for keyword, number, done in (("split_item", split_item, (2, 3)), ("group_type", group_type, (0, 2)), ("group_list_type", group_list_type, (0, 1))):
        if number not in done:
            raise not_in_rehearsal(f"{name}({keyword}={number})")
    if len(x) != 1:
        raise not_in_rehearsal(f"{name} of {len(x)} tensors x")
    (one,) = x
    require_dtype(name, x=one, **{f"weight{index}": each for index, each in enumerate(weight)})
    if group_type == 2:
        if len(weight) != 1 or one.dim() != 2 or weight[0].dim() != 2 or one.shape[1] != weight[0].shape[0]:
            raise ValueError(f"{name}: group_type 2 takes x (M, K) and one weight (K, N), got {tuple(one.shape)} and {[tuple(each.shape) for each in weight]}")
        groups = _bounds(name, group_list, group_list_type == 0, int(one.shape[1]))
        return [torch.stack([one[:, first:last] @ weight[0][first:last] for first, last in groups])]
    weights = list(weight[0]) if len(weight) == 1 and weight[0].dim() == 3 else list(weight)
    if one.dim() != 2 or any(each.dim() != 2 or each.shape[0] != one.shape[1] for each in weights):
        raise ValueError(f"{name}: group_type 0 takes x (M, K) and weights (K, N), got {tuple(one.shape)} and {[tuple(each.shape) for each in weight]}")
    return [_rows(name, one, weights, _bounds(name, group_list, group_list_type == 0, int(one.shape[0])))]


def _local(name: str, running_sums: bool) -> Any:
    """Kernel of MindSpeed's operator ``name``: groups of rows of ``x`` by ``weight`` (G, K, N). Arguments: its op_builder/gmm_builder.py."""

    def kernel(
        original_weight: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        bias: Tensor | None = None,
        group_list: Tensor | Sequence[int] | None = None,
        group_type: int | None = 0,
        gemm_fusion: bool | None = False,
    ) -> Tensor:
        for keyword, value in (("bias", bias is not None), ("group_type", group_type), ("gemm_fusion", gemm_fusion), ("group_list", group_list is None)):
            if value:
                raise not_in_rehearsal(f"mindspeed.{name}({keyword}={value})")
        return _rows(name, x, list(weight), _bounds(name, torch.as_tensor(group_list), running_sums, int(x.shape[0])))

    return kernel


def install() -> None:
    """Give MindSpeed's operators their kernels; it defines the operators later, when it is imported."""
    if not _KERNELS:
        library = torch.library.Library("mindspeed", "IMPL")
        for operator, running_sums in (("npu_gmm.Tensor", True), ("npu_gmm.List", True), ("npu_gmm_v2.Tensor", False)):
            for key in ("CPU", "AutogradCPU"):  # at AutogradCPU, too: autograd then goes through the products themselves
                library.impl(operator, _local(operator, running_sums), key)
        _KERNELS.append(library)
