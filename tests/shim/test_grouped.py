"""Products of groups, MindSpeed's operators among them, against plain torch."""

from __future__ import annotations

import subprocess
from typing import Any, Callable

import pytest
import torch
import torch_npu

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
SIZES = [[3, 0, 5, 1], [0, 0, 0, 9], [9, 0, 0, 0], [1, 1], [4], [0, 0]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def listed(sizes: list[int], how: int) -> torch.Tensor:
    """A group_list of these sizes: 0 running sums, 1 the sizes themselves."""
    return torch.tensor(sizes) if how else torch.tensor(sizes).cumsum(0)


def matmul(x: torch.Tensor, weight: list[torch.Tensor], group_list: torch.Tensor | None, **given: Any) -> torch.Tensor:
    (out,) = torch_npu.npu_grouped_matmul([x], weight, group_list=group_list, **{"split_item": 2, "group_type": 0, **given})
    return out


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("how", [0, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_each_row_meets_the_weight_of_its_group(sizes: list[int], how: int, dtype: torch.dtype) -> None:
    x, weight = torch.randn(sum(sizes), 6).to(dtype), torch.randn(len(sizes), 6, 4).to(dtype)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    expected = torch.einsum("mk,mkn->mn", x.float(), weight.float()[owner])
    for weights in ([weight], list(weight)):
        out = matmul(x, weights, listed(sizes, how), group_list_type=how, split_item=3)
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), expected, atol=5e-2 if dtype != torch.float32 else 1e-5, rtol=2e-2 if dtype != torch.float32 else 1e-5)


@pytest.mark.parametrize("how", [0, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_columns_by_rows_give_a_product_a_group(sizes: list[int], how: int) -> None:
    x, weight = torch.randn(5, sum(sizes)), torch.randn(sum(sizes), 4)
    out = matmul(x, [weight], listed(sizes, how), group_type=2, group_list_type=how)
    one_hot = torch.nn.functional.one_hot(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)), len(sizes)).float()
    torch.testing.assert_close(out, torch.einsum("mk,kg,kn->gmn", x, one_hot, weight))


def test_the_gradients_are_those_that_mindspeed_computes_by_hand() -> None:
    sizes = [3, 0, 5, 1]
    x, weight = torch.randn(9, 6, requires_grad=True), torch.randn(4, 6, 4, requires_grad=True)
    out = matmul(x, list(weight), listed(sizes, 1), group_list_type=1)
    slope = torch.randn_like(out)
    out.backward(slope)
    # mindspeed/te/pytorch/module/grouped_linear.py: the same operator with the transposed weights, and along the other axis.
    torch.testing.assert_close(matmul(slope, list(weight.transpose(1, 2)), listed(sizes, 1), group_list_type=1), x.grad)
    torch.testing.assert_close(matmul(x.T, [slope], listed(sizes, 1), group_list_type=1, group_type=2, split_item=3), weight.grad)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bias": [torch.ones(4)]}, r"npu_grouped_matmul\(bias=…\)"),
        ({"scale": [torch.ones(4)]}, "scale"),
        ({"act_type": 1}, "act_type"),
        ({"output_dtype": torch.float32}, "output_dtype"),
        ({"split_item": 0}, "split_item=0"),
        ({"group_type": -1}, "group_type=-1"),
        ({"group_type": None}, "group_type=None"),
        ({"group_list_type": 2}, "group_list_type=2"),
        ({"group_list": [3, 9]}, r"group_list=\[3, 9\]"),
        ({"group_list": None}, "group_list=None"),
        ({"x": [torch.ones(9, 6)] * 2}, "2 tensors x"),
    ],
)
def test_it_refuses_by_name_what_it_does_not_do(given: dict[str, Any], said: str) -> None:
    whole = {"x": [torch.ones(9, 6)], "weight": [torch.ones(2, 6, 4)], "group_list": torch.tensor([3, 9]), "split_item": 2, "group_type": 0, **given}
    with pytest.raises(NotImplementedError, match=said):
        torch_npu.npu_grouped_matmul(**whole)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"group_list": torch.tensor([3, 8])}, ValueError, "ends at 8 of 9"),
        ({"group_list": torch.tensor([3, 10])}, ValueError, "ends at 10 of 9"),
        ({"group_list": torch.tensor([10, 9])}, ValueError, "goes down"),
        ({"group_list": torch.tensor([10, -1]), "group_list_type": 1}, ValueError, "is negative"),
        ({"group_list": torch.tensor([3, 9], dtype=torch.int32)}, ValueError, "torch.int32"),
        ({"group_list": torch.tensor([[3, 9]])}, ValueError, "one dimension"),
        ({"group_list": torch.tensor([3, 4, 9])}, ValueError, "2 weights for 3 groups"),
        ({"weight": [torch.ones(3, 6, 4)]}, ValueError, "3 weights for 2 groups"),
        ({"weight": [torch.ones(2, 5, 4)]}, ValueError, r"group_type 0 takes .* got \(9, 6\) and \[\(2, 5, 4\)\]"),
        ({"weight": [torch.ones(2, 6, 4).double()]}, TypeError, "float64"),
        ({"group_type": 2}, ValueError, r"group_type 2 takes .* got \(9, 6\)"),
        ({"group_type": 2, "weight": [torch.ones(6, 4)] * 2}, ValueError, "one weight"),
        ({"biases": None}, TypeError, "unexpected keyword argument 'biases'"),
    ],
)
def test_it_says_what_is_wrong(given: dict[str, Any], error: type[Exception], said: str) -> None:
    whole = {"x": [torch.ones(9, 6)], "weight": [torch.ones(2, 6, 4)], "group_list": torch.tensor([3, 9]), "split_item": 2, "group_type": 0, **given}
    with pytest.raises(error, match=said):
        torch_npu.npu_grouped_matmul(**whole)


def test_mindspeeds_own_operators(python: Run) -> None:
    done = python("""
    import torch, torch_npu
    # As mindspeed/op_builder/gmm_builder.py defines them, after torch_npu was imported; its kernel of shapes too.
    library = torch.library.Library("mindspeed", "DEF")
    rest = "*, Tensor? bias=None, {} group_list=None, int? group_type=0, bool? gemm_fusion=False) -> Tensor"
    for name, kind in (("npu_gmm.Tensor", "Tensor?"), ("npu_gmm.List", "int[]?"), ("npu_gmm_v2.Tensor", "Tensor?")):
        library.define(f"{name}(Tensor original_weight, Tensor x, Tensor weight, " + rest.format(kind))
        @torch.library.impl(library, name, "Meta")
        def shape(original_weight, x, weight, *, bias=None, group_list=None, group_type=0, gemm_fusion=False):
            return x.new_empty((x.shape[0], weight.shape[-1]))
    torch.manual_seed(7)
    x, weight = torch.randn(9, 6, requires_grad=True), torch.randn(3, 6, 4, requires_grad=True)
    parts = torch.split(x, [3, 0, 6])
    expected = torch.cat([part @ one for part, one in zip(parts, weight)])
    slope = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (x, weight), slope)
    gmm, gmm_v2 = torch.ops.mindspeed.npu_gmm, torch.ops.mindspeed.npu_gmm_v2
    for operator, groups in ((gmm, torch.tensor([3, 3, 9])), (gmm, [3, 3, 9]), (gmm_v2, torch.tensor([3, 0, 6]))):
        out = operator(weight, x, weight, bias=None, group_list=groups, group_type=0, gemm_fusion=False)
        torch.testing.assert_close(out, expected)
        for a, b in zip(torch.autograd.grad(out, (x, weight), slope), gradients): torch.testing.assert_close(a, b)
    for given, said in (({"gemm_fusion": True}, "gemm_fusion"), ({"group_type": 2}, "group_type"), ({"bias": x}, "bias"), ({"group_list": None}, "group_list")):
        try: gmm(weight, x, weight, **{"group_list": torch.tensor([3, 3, 9]), **given})
        except NotImplementedError as error: assert "mindspeed.npu_gmm" in str(error) and said in str(error), error
        else: raise SystemExit(f"{given} was accepted")
    """)
    assert done.returncode == 0, done.stderr
