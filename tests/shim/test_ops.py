"""Each fused operator against plain torch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch_npu

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
BATCH, HEADS, KV_HEADS, SEQUENCE, DIM = 2, 4, 2, 8, 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def causal(rows: int = SEQUENCE, columns: int = SEQUENCE) -> torch.Tensor:
    return torch.ones(rows, columns, dtype=torch.bool).triu(1)


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    return {
        "BNSD": x,
        "BSND": x.permute(0, 2, 1, 3),
        "BSH": x.permute(0, 2, 1, 3).flatten(2),
        "SBH": x.permute(2, 0, 1, 3).flatten(2),
    }[layout]


def qkv(dtype: torch.dtype = torch.float32, kv_heads: int = KV_HEADS) -> list[torch.Tensor]:
    return [torch.randn(BATCH, heads, SEQUENCE, DIM).to(dtype) for heads in (HEADS, kv_heads, kv_heads)]


@pytest.mark.parametrize(("layout", "dtype"), list(itertools.product(["SBH", "BSH", "BSND", "BNSD"], FLOATS)))
def test_attention_equals_torchs(layout: str, dtype: torch.dtype) -> None:
    q, k, v = qkv(dtype)
    out = torch_npu.npu_fusion_attention(
        *(laid_out(x, layout) for x in (q, k, v)), HEADS, layout, atten_mask=causal(), scale=DIM**-0.5, pre_tockens=65536, next_tockens=0
    )
    expected = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True, enable_gqa=True)
    assert out[0].dtype == dtype
    torch.testing.assert_close(out[0].float(), laid_out(expected, layout), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_attention_gives_the_softmaxs_maxima_and_sums_eight_times() -> None:
    q, k, v = qkv(kv_heads=HEADS)
    scores = q @ k.transpose(-1, -2)
    _, maxima, sums, empty, *numbers = torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD")
    assert maxima.shape == sums.shape == (BATCH, HEADS, SEQUENCE, 8)
    torch.testing.assert_close(maxima[..., 3], scores.amax(-1))
    torch.testing.assert_close(maxima[..., 0] + sums[..., 7].log(), scores.logsumexp(-1))
    assert (empty.numel(), numbers) == (0, [0, 0, 0])


def test_attention_adds_pse_before_it_scales() -> None:
    q, k, v = qkv(kv_heads=HEADS)
    pse = torch.randn(1, HEADS, SEQUENCE, SEQUENCE)
    out = torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD", pse=pse, scale=0.25)[0]
    torch.testing.assert_close(out, torch.softmax((q @ k.transpose(-1, -2) + pse) * 0.25, -1) @ v)


def test_attentions_gradients_equal_torchs() -> None:
    theirs = [x.requires_grad_() for x in qkv(kv_heads=HEADS)]
    ours = [x.detach().clone().requires_grad_() for x in theirs]
    torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=True).square().sum().backward()
    torch_npu.npu_fusion_attention(*ours, HEADS, "BNSD", atten_mask=causal(), scale=DIM**-0.5, next_tockens=0)[0].square().sum().backward()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)


def test_attention_accepts_masks_of_the_documented_shapes() -> None:
    q, k, v = qkv()
    expected = torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD", atten_mask=causal())[0]
    for shape in [(1, 1), (BATCH, 1), (BATCH, HEADS)]:
        mask = causal().expand(*shape, SEQUENCE, SEQUENCE).to(torch.uint8)
        torch.testing.assert_close(torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD", atten_mask=mask)[0], expected)


@pytest.mark.parametrize(("rows", "columns", "dtype"), [(8, 8, torch.bool), (8, 12, torch.uint8), (12, 8, torch.bool), (2100, 2100, torch.bool)])
def test_attention_expands_the_compressed_causal_mask(rows: int, columns: int, dtype: torch.dtype) -> None:
    q, k, v = torch.randn(1, 2, rows, 4), torch.randn(1, 2, columns, 4), torch.randn(1, 2, columns, 4)
    # sparse_mode 2 looks at neither number of tokens.
    out = torch_npu.npu_fusion_attention(
        q, k, v, 2, "BNSD", atten_mask=causal(2048, 2048).to(dtype), scale=0.5, sparse_mode=2, pre_tockens=1, next_tockens=0
    )[0]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=~causal(rows, columns), scale=0.5)
    torch.testing.assert_close(out, expected)


def test_attention_drops_by_keep_prob() -> None:
    q, k, v = qkv(kv_heads=HEADS)
    out = torch_npu.npu_fusion_attention(q, k, torch.ones_like(v), HEADS, "BNSD", keep_prob=0.5)[0]
    assert out.std() > 0.1
    torch.manual_seed(3)
    first = torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD", keep_prob=0.5)[0]
    torch.manual_seed(3)
    assert torch.equal(first, torch_npu.npu_fusion_attention(q, k, v, HEADS, "BNSD", keep_prob=0.5)[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input_layout": "TND"}, "input_layout='TND'"),
        ({"padding_mask": causal()}, "padding_mask"),
        ({"prefix": [1, 1]}, "prefix"),
        ({"actual_seq_qlen": [8]}, "actual_seq_qlen"),
        ({"actual_seq_kvlen": [8]}, "actual_seq_kvlen"),
        ({"sparse_mode": 3, "atten_mask": causal(2048, 2048)}, "sparse_mode=3"),
        ({"sparse_mode": 4, "atten_mask": causal(2048, 2048)}, "sparse_mode=4"),
        ({"inner_precise": 2}, "inner_precise=2"),
        ({"pse": torch.zeros(1, HEADS, 1024, SEQUENCE)}, "pse"),
    ],
)
def test_attention_refuses_by_name_what_it_does_not_do(given: dict[str, object], said: str) -> None:
    with pytest.raises(NotImplementedError, match=said):
        torch_npu.npu_fusion_attention(*qkv(), HEADS, **{"input_layout": "BNSD", **given})


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"input_layout": "NSD"}, ValueError, "'NSD' is none of"),
        ({"input_layout": "SBH"}, ValueError, "needs 3 dimensions"),
        ({"head_num": 3}, ValueError, "head_num 3 disagrees"),
        ({"keep_prob": 0.0}, ValueError, "outside"),
        ({"atten_mask": causal(4)}, ValueError, "atten_mask"),
        ({"atten_mask": causal().float()}, TypeError, "not bool or uint8"),
        ({"atten_mask": ~causal(), "next_tockens": 0}, ValueError, "must agree"),
        ({"atten_mask": causal(), "pre_tockens": 2}, ValueError, "pre_tockens=2"),
        ({"sparse_mode": 2}, ValueError, "no atten_mask"),
        ({"sparse_mode": 2, "atten_mask": causal()}, ValueError, r"atten_mask \(8, 8\) is another"),
        ({"sparse_mode": 2, "atten_mask": ~causal(2048, 2048)}, ValueError, "true above the diagonal"),
        ({"sparse_mode": 2, "atten_mask": causal(2048, 2048).float()}, TypeError, "not bool or uint8"),
    ],
)
def test_attention_says_what_is_wrong(given: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        torch_npu.npu_fusion_attention(*qkv(), **{"head_num": HEADS, "input_layout": "BNSD", **given})


def test_attention_refuses_mixed_dtypes_and_heads_that_do_not_divide() -> None:
    q, k, v = qkv()
    with pytest.raises(TypeError, match=r"key torch.bfloat16"):
        torch_npu.npu_fusion_attention(q, k.bfloat16(), v, HEADS, "BNSD")
    with pytest.raises(ValueError, match="4 query heads"):
        torch_npu.npu_fusion_attention(q, *qkv(kv_heads=3)[1:], HEADS, "BNSD")


@pytest.mark.parametrize("dtype", FLOATS)
def test_rms_norm_equals_torchs(dtype: torch.dtype) -> None:
    x, gamma = torch.randn(3, 5, 16).to(dtype), torch.randn(16).to(dtype)
    y, rstd = torch_npu.npu_rms_norm(x, gamma, epsilon=1e-5)
    expected = torch.nn.functional.rms_norm(x.float(), (16,), gamma.float(), 1e-5)
    assert (y.dtype, rstd.dtype, rstd.shape) == (dtype, torch.float32, (3, 5, 1))
    torch.testing.assert_close(y.float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    torch.testing.assert_close(rstd, (x.float().square().mean(-1, keepdim=True) + 1e-5).rsqrt())


def test_rms_norm_over_two_dimensions() -> None:
    x, gamma = torch.randn(3, 5, 16), torch.randn(5, 16)
    y, rstd = torch_npu.npu_rms_norm(x, gamma)
    assert rstd.shape == (3, 1, 1)
    torch.testing.assert_close(y, torch.nn.functional.rms_norm(x, (5, 16), gamma, 1e-6))


def test_rms_norm_refuses_another_shape_and_dtype() -> None:
    with pytest.raises(ValueError, match="gamma"):
        torch_npu.npu_rms_norm(torch.ones(2, 4), torch.ones(3))
    with pytest.raises(TypeError, match="float64"):
        torch_npu.npu_rms_norm(torch.ones(2, 4).double(), torch.ones(4))


@pytest.mark.parametrize(("dtype", "dim"), list(itertools.product(FLOATS, [-1, 0])))
def test_swiglu(dtype: torch.dtype, dim: int) -> None:
    x = torch.randn(4, 8).to(dtype)
    first, second = x.float().chunk(2, dim)
    y = torch_npu.npu_swiglu(x, dim=dim)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), first * torch.sigmoid(first) * second, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_swiglu_refuses_an_odd_dimension() -> None:
    with pytest.raises(ValueError, match="odd"):
        torch_npu.npu_swiglu(torch.ones(2, 3))


def test_rotary_turns_each_pair_by_its_angle() -> None:
    x, angles = torch.randn(5, 2, 3, 8), torch.randn(5, 1, 1, 4)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    both = torch.cat((angles, angles), -1)
    torch.testing.assert_close(torch_npu.npu_rotary_mul(x, both.cos(), both.sin()), torch.cat((pairs.real, pairs.imag), -1))


def test_rotary_refuses_the_other_mode_and_other_shapes() -> None:
    x = torch.ones(1, 1, 1, 4)
    with pytest.raises(NotImplementedError, match="interleave"):
        torch_npu.npu_rotary_mul(x, x, x, "interleave")
    with pytest.raises(ValueError, match="r1 has 3 dimensions"):
        torch_npu.npu_rotary_mul(x, x[0], x)
    with pytest.raises(ValueError, match="r2 is 2 wide"):
        torch_npu.npu_rotary_mul(x, x, x[..., :2])


@pytest.mark.parametrize("dtype", FLOATS)
def test_scaled_masked_softmax(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 32, 64).to(dtype)
    mask = torch.rand(2, 1, 32, 64) > 0.7
    y = torch_npu.npu_scaled_masked_softmax(x, mask, 0.3, False)
    expected = torch.softmax((x.float() * 0.3).masked_fill(mask, -torch.inf), -1)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_scaled_masked_softmax_makes_the_triangle_itself() -> None:
    x = torch.randn(1, 1, 32, 32)
    y = torch_npu.npu_scaled_masked_softmax(x, torch.zeros(1, dtype=torch.bool), 1.0, True)
    torch.testing.assert_close(y, torch.softmax(x.masked_fill(causal(32, 32), -torch.inf), -1))


def test_scaled_masked_softmax_refuses_what_the_npu_cannot() -> None:
    mask = torch.zeros(1, dtype=torch.bool)
    with pytest.raises(ValueError, match="multiples of 32"):
        torch_npu.npu_scaled_masked_softmax(torch.ones(1, 1, 48, 64), mask)
    with pytest.raises(TypeError, match="not bool"):
        torch_npu.npu_scaled_masked_softmax(torch.ones(1, 1, 32, 32), mask.float())


@pytest.mark.parametrize("maximize", [False, True])
def test_adam_w_equals_torchs(maximize: bool) -> None:
    start = torch.randn(6, 5)
    theirs = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, maximize=maximize)
    ours, m, v = start.clone(), torch.zeros(6, 5), torch.zeros(6, 5)
    for step in range(1, 6):
        grad = torch.randn(6, 5)
        theirs.grad = grad.clone()
        optimizer.step()
        answer = torch_npu.npu_apply_adam_w(0.9 ** (step - 1), 0.95 ** (step - 1), 0.01, 0.1, 0.9, 0.95, 1e-8, grad, None, False, maximize, out=(ours, m, v))
        assert answer[0] is ours and answer[1] is m and answer[2] is v
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


def test_adam_w_refuses_amsgrad_and_the_form_without_out() -> None:
    one = torch.ones(2)
    numbers = (1.0, 1.0, 0.1, 0.0, 0.9, 0.95, 1e-8, one)
    with pytest.raises(NotImplementedError, match="amsgrad"):
        torch_npu.npu_apply_adam_w(*numbers, one, True, False, out=(one, one, one))
    with pytest.raises(NotImplementedError, match="without out"):
        torch_npu.npu_apply_adam_w(*numbers, None, False, False)
    with pytest.raises(ValueError, match="shapes differ"):
        torch_npu.npu_apply_adam_w(*numbers, None, False, False, out=(torch.ones(3), one, one))
