"""Parameters, memory and checkpoints of a plan: against numbers worked out by hand, and what must hold of every plan."""
from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _plan, _plan_memory, _plan_sizes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests import stacks

GIB = 2.0**30
# The machine that runs the tests may be busy: no limits on time.
calm = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

MIXTRAL: dict[str, Any] = {
    "tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4, "expert-model-parallel-size": 2, "sequence-parallel": True, "num-experts": 8,
    "moe-router-topk": 2, "num-layers": 32, "hidden-size": 4096, "ffn-hidden-size": 14336, "num-attention-heads": 32, "group-query-attention": True,
    "num-query-groups": 8, "seq-length": 4096, "max-position-embeddings": 32768, "micro-batch-size": 1, "global-batch-size": 128, "bf16": True,
    "make-vocab-size-divisible-by": 1, "untie-embeddings-and-output-weights": True, "disable-bias-linear": True, "position-embedding-type": "rope",
    "normalization": "RMSNorm", "swiglu": True, "use-flash-attn": True, "attention-softmax-in-fp32": True, "train-iters": 1000, "save-interval": 1000,
    "recompute-method": "block", "recompute-granularity": "full", "recompute-num-layers": 32, "lr": 1e-6, "lr-warmup-fraction": 0.01,
}
OWN = {"recipe": {"moe-train-capacity-factor": 1.1, "moe-model-type": "mixtral_moe"},
       "current": {"moe-token-dispatcher-type": "alltoall_seq", "moe-grouped-gemm": True, "ckpt-format": "torch", "tokenizer-type": "HuggingFaceTokenizer",
                   "transformer-impl": "transformer_engine"}}
STACKS = {name: stacks.read(name) for name in OWN}
BARE = {"recompute-method": "", "recompute-granularity": "", "recompute-num-layers": ""}


def read(changes: dict[str, Any], world: int = 16, vocabulary: int = 32000, stack: str = "recipe") -> tuple[Any, list[Any]]:
    plan = {**MIXTRAL, **OWN[stack], **changes}
    assert _plan.plan_errors(plan, STACKS[stack], world) == []
    return _plan_sizes.read(plan, STACKS[stack], world, vocabulary)


@pytest.mark.parametrize("stack", OWN)
def test_the_full_model_has_the_parameters_that_it_is_known_by(stack: str) -> None:
    # 32 layers of queries and output 2 x 4096 x 4096, keys and values 2 x 4096 x 1024, two norms, a router of 8 x 4096 and
    # 8 experts of 3 x 4096 x 14336; two tables of 32000 x 4096, a last norm: https://arxiv.org/abs/2401.04088 says 47 B.
    plan, found = read({}, stack=stack)
    whole = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 2 * 4096 + 8 * 4096 + 8 * 3 * 4096 * 14336) + 2 * 32000 * 4096 + 4096
    assert _plan_sizes.model_parameters(plan, found) == whole == 46_702_792_704


@pytest.mark.parametrize("stack", OWN)
def test_the_role_s_plan_by_hand(stack: str) -> None:
    plan, found = read({}, stack=stack)
    experts = 8 * 4 * 3 * 4096 * 14336 // 2  # layers x experts a rank x three matrices, by two tensor ranks
    attention = 8 * (2 * 4096 * 4096 + 2 * 4096 * 1024) // 2
    others = 8 * (2 * 4096 + 8 * 4096)
    table = 32000 * 4096 // 2
    assert [stage.all for stage in found] == [experts + attention + others + extra for extra in (table, 0, 0, table + 4096)]
    assert found[0].all == 3_052_208_128
    # 18 bytes each: weights 2, gradients 4, weight in single precision and two moments 12.
    assert _plan_sizes.static_bytes(plan, found[0]) == 18 * 3_052_208_128
    assert 51.1 < _plan_sizes.static_bytes(plan, found[0]) / GIB < 51.2
    made = _plan_sizes.checkpoint(plan, STACKS[stack], found)
    assert made.by_rank == tuple(14 * found[rank // 4].all for rank in range(16))
    assert [round(size / 1e9) for size in made.by_node(8)] == [338, 338]
    assert round(sum(made.by_rank) / 1e9) == 676


@pytest.mark.parametrize(("vocabulary", "multiple", "tensor", "padded"), [
    (32000, 1, 2, 32000), (32001, 1, 2, 32002), (32000, 128, 2, 32000), (32000, 128, 8, 32768), (320, None, 2, 512)])
def test_the_vocabulary_is_padded(vocabulary: int, multiple: int | None, tensor: int, padded: int) -> None:
    plan, _ = read({"make-vocab-size-divisible-by": multiple, "tensor-model-parallel-size": tensor}, 8 * tensor)
    assert _plan_sizes.padded_vocabulary(plan, vocabulary) == padded


SMALL = {"num-layers": 4, "hidden-size": 8, "ffn-hidden-size": 16, "num-attention-heads": 4, "num-query-groups": 2, "tensor-model-parallel-size": 1,
         "pipeline-model-parallel-size": 1, "expert-model-parallel-size": 1, "num-experts": None, "seq-length": 16}
# Attention 8 x (8 + 4 + 4) + 8 x 8, feed-forward 3 x 8 x 16, two norms of 8; two tables of 10 x 8, a norm.
BY_HAND = [
    ({}, 4 * (192 + 384 + 16) + 160 + 8),
    ({"untie-embeddings-and-output-weights": False}, 4 * (192 + 384 + 16) + 80 + 8),
    ({"normalization": "LayerNorm"}, 4 * (192 + 384 + 32) + 160 + 16),
    ({"swiglu": False}, 4 * (192 + 256 + 16) + 160 + 8),
    ({"group-query-attention": False}, 4 * (256 + 384 + 16) + 160 + 8),
    ({"kv-channels": 4}, 4 * (384 + 384 + 16) + 160 + 8),
    ({"disable-bias-linear": False}, 4 * (192 + 16 + 8 + 384 + 32 + 8 + 16) + 160 + 8),
    ({"add-qkv-bias": True}, 4 * (192 + 16 + 384 + 16) + 160 + 8),
    ({"position-embedding-type": "learned_absolute", "max-position-embeddings": 32}, 4 * (192 + 384 + 16) + 160 + 8 + 256),
    ({"position-embedding-type": "", "max-position-embeddings": 32}, 4 * (192 + 384 + 16) + 160 + 8 + 256),
    ({"num-experts": 4}, 4 * (192 + 4 * 384 + 32 + 16) + 160 + 8),
    # AscendSpeed's own block has gates and no biases, whatever is said of others.
    ({"num-experts": 4, "swiglu": False, "disable-bias-linear": False}, 4 * (192 + 16 + 8 + 4 * 384 + 32 + 16) + 160 + 8),
    ({"num-experts": 4, "moe-model-type": "megatron_moe", "disable-bias-linear": False}, 4 * (192 + 24 + 4 * (384 + 32 + 8) + 32 + 16) + 160 + 8),
]


@pytest.mark.parametrize(("changes", "parameters"), BY_HAND)
def test_small_models_by_hand(changes: dict[str, Any], parameters: int) -> None:
    plan, found = read({**SMALL, **changes}, 1, 10)
    assert found[0].all == parameters == _plan_sizes.model_parameters(plan, found)


@pytest.mark.parametrize(("changes", "world", "layers"), [
    ({"pipeline-model-parallel-size": 2, "standalone-embedding-stage": False}, 2, [2, 2]),
    ({"pipeline-model-parallel-size": 3, "standalone-embedding-stage": True}, 3, [0, 2, 2])])
def test_layers_of_stages(changes: dict[str, Any], world: int, layers: list[int]) -> None:
    assert [stage.layers for stage in read({**SMALL, **changes}, world, 10)[1]] == layers


def test_layers_of_stages_where_embedding_and_loss_count_as_layers() -> None:
    counted = {"account-for-embedding-in-pipeline-split": True, "account-for-loss-in-pipeline-split": True, "pipeline-model-parallel-size": 2}
    assert [stage.layers for stage in read({**SMALL, **counted}, 2, 10, "current")[1]] == [2, 2]
    assert [stage.layers for stage in read({**SMALL, **counted, "account-for-loss-in-pipeline-split": False, "num-layers": 5}, 2, 10, "current")[1]] == [2, 3]


@pytest.mark.parametrize(("changes", "each"), [
    ({}, 18), ({"bf16": False, "fp16": True}, 20), ({"bf16": False, "fp16": True, "accumulate-allreduce-grads-in-fp32": True}, 18)])
def test_bytes_of_a_parameter(changes: dict[str, Any], each: int) -> None:
    plan, found = read({**SMALL, **changes}, 1, 10)
    assert _plan_sizes.static_bytes(plan, found[0]) == each * found[0].all


def test_bytes_of_a_parameter_of_current() -> None:
    for changes, each in (({"grad-reduce-in-bf16": True}, 20), ({"bf16": False, "moe-grouped-gemm": False}, 16)):
        plan, found = read({**SMALL, **changes}, 1, 10, "current")
        assert _plan_sizes.static_bytes(plan, found[0]) == each * found[0].all


def test_the_distributed_optimizer_keeps_a_part_for_each_replica() -> None:
    plan, found = read({"use-distributed-optimizer": True}, 64)
    stage = found[1]
    # DP 8: of experts four ranks have the same ones.
    assert _plan_sizes.static_bytes(plan, stage) == int(6 * stage.all + 12 * (stage.all - stage.experts) / 8 + 12 * stage.experts / 4)
    made = _plan_sizes.checkpoint(plan, STACKS["recipe"], found)
    # Stage 1 begins at rank 16: the ranks of its first replica write, those of the second have other experts, the others nothing.
    dense, experts = found[1].all - found[1].experts, found[1].experts
    assert made.by_rank[16:24] == (2 * (dense + experts) + 12 * (dense + experts),) * 2 + (2 * (dense + experts) + 12 * experts,) * 2 + (0,) * 4


def test_without_the_optimizer_a_checkpoint_is_weights() -> None:
    plan, found = read({"no-save-optim": True})
    assert sum(_plan_sizes.checkpoint(plan, STACKS["recipe"], found).by_rank) == 2 * 4 * sum(stage.all for stage in found)


@pytest.mark.parametrize(("changes", "named"), [
    ({"reuse-fp32-param": True}, "plan_extra_arguments['reuse-fp32-param'] is True"), ({"optimizer": "sgd"}, "optimizer'] is sgd"),
    ({"adaptive-recompute-device-swap": True}, "adaptive-recompute-device-swap")])
def test_what_is_not_counted_is_said(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match="its sizes are not counted here") as raised:
        _plan_sizes.read({**MIXTRAL, **changes}, STACKS["recipe"], 16, 32000)
    assert named in str(raised.value)


def test_what_a_stack_leaves_unjudged_is_not_counted() -> None:
    with pytest.raises(ValueError, match=r"mtp-num-layers'\] is 1: its sizes are not counted here"):
        _plan_sizes.read({**MIXTRAL, "mtp-num-layers": 1}, STACKS["current"], 16, 32000)


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[str, Any], int, str]:
    """A plan of a small model, its number of ranks, and its stack."""
    stack = draw(st.sampled_from(sorted(OWN)))
    tensor, pipeline, expert = (draw(st.sampled_from([1, 2, 4])) for _ in range(3))
    replicas = expert * draw(st.integers(1, 3))
    groups = 4 * draw(st.integers(1, 2))
    changes = {
        "tensor-model-parallel-size": tensor, "pipeline-model-parallel-size": pipeline, "expert-model-parallel-size": expert,
        "num-experts": 4 * draw(st.integers(1, 2)), "num-layers": 4 * draw(st.integers(1, 3)), "num-query-groups": groups,
        "num-attention-heads": groups * draw(st.integers(1, 3)), "ffn-hidden-size": 16 * draw(st.integers(1, 4)), "seq-length": 64, "kv-channels": 8,
        "hidden-size": 16 * draw(st.integers(1, 8)), "global-batch-size": replicas * draw(st.integers(1, 6)),
        "untie-embeddings-and-output-weights": draw(st.booleans()), "use-distributed-optimizer": draw(st.booleans()), "sequence-parallel": True,
        "group-query-attention": draw(st.booleans()), **draw(st.sampled_from([{}, BARE])),
    }
    world = tensor * pipeline * replicas
    assume(_plan.keeps_rules({**MIXTRAL, **OWN[stack], **changes}, STACKS[stack], world))
    return changes, world, stack


@calm
@given(plans(), st.integers(100, 700))
def test_all_ranks_together_hold_the_whole_model(drawn: tuple[dict[str, Any], int, str], vocabulary: int) -> None:
    changes, world, stack = drawn
    plan, found = read(changes, world, vocabulary, stack)
    one = {"tensor-model-parallel-size": 1, "pipeline-model-parallel-size": 1, "expert-model-parallel-size": 1,
           "make-vocab-size-divisible-by": plan.tp}  # padded as for all tensor ranks
    alone, whole = read({**changes, **one}, 1, vocabulary, stack)
    assert _plan_sizes.model_parameters(plan, found) == whole[0].all == _plan_sizes.model_parameters(alone, whole)
    # Every rank's own: each tensor rank, expert rank and stage; what is the same on several is counted on each.
    assert sum(stage.all for stage in found) * plan.tp * plan.ep >= whole[0].all


@calm
@given(plans())
def test_more_ranks_a_model_never_need_more_of_one(drawn: tuple[dict[str, Any], int, str]) -> None:
    changes, world, stack = drawn
    stage = max(each.all for each in read(changes, world, 512, stack)[1])
    for name in ("tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size"):
        more = {**changes, name: 2 * changes[name], "global-batch-size": 2 * changes["global-batch-size"]}
        if _plan.keeps_rules({**MIXTRAL, **OWN[stack], **more}, STACKS[stack], 2 * world):
            # Of a tied embedding both ends of a pipeline have a copy.
            tied = not changes["untie-embeddings-and-output-weights"] and changes["pipeline-model-parallel-size"] == 1 and "pipeline" in name
            assert tied or max(each.all for each in read(more, 2 * world, 512, stack)[1]) <= stage


@calm
@given(plans())
def test_a_checkpoint_holds_every_parameter_with_its_optimizer(drawn: tuple[dict[str, Any], int, str]) -> None:
    changes, world, stack = drawn
    plan, found = read(changes, world, 512, stack)
    made = _plan_sizes.checkpoint(plan, STACKS[stack], found)
    assert len(made.by_rank) == world
    # Weights of what is not of experts are stored for every expert rank, the distributed optimizer's state of it once.
    copies = 1 if plan.flag("use_distributed_optimizer") else plan.ep
    expected = sum(2 * plan.ep * plan.tp * stage.all + 12 * plan.tp * (copies * (stage.all - stage.experts) + plan.ep * stage.experts) for stage in found)
    assert sum(made.by_rank) == expected


# Memory of activations

def activations(changes: dict[str, Any], world: int = 16, stage: int = 0, stack: str = "recipe") -> float:
    plan, found = read(changes, world, stack=stack)
    return _plan_memory.activation_bytes(plan, found, stage, 32000)


def test_a_dense_layer_by_hand() -> None:
    # Of 4096 tokens on one rank, hidden 4096: norm and its output 2 x 2 h twice, queries, keys, values and what comes of them 4 x 2 h (the older models
    # copy keys and values for each head), statistics of 32 heads 64 bytes each, two masks of h bytes, and 4 x 2 x 14336 of the gate.
    one = {"tensor-model-parallel-size": 1, "pipeline-model-parallel-size": 1, "expert-model-parallel-size": 1, "num-experts": None}
    plan, _ = read(one, 1)
    layer = _plan_memory.layer_bytes(plan)
    assert layer.kept == 4096 * (8 * 4096 + 8 * 4096 + 64 * 32 + 2 * 4096 + 8 * 14336)
    assert (layer.scores, layer.input) == (0, 4096 * 2 * 4096)
    # The newer ones keep a key and a value for eight groups: 4096 x 2 x (2 x 4096 + 2 x 1024).
    plan, _ = read(one, 1, stack="current")
    assert layer.kept - _plan_memory.layer_bytes(plan).kept == 4096 * 2 * 2 * (4096 - 1024)


def test_full_recomputation_keeps_the_input_of_each_layer_in_flight() -> None:
    plan, _ = read({})
    layer = _plan_memory.layer_bytes(plan)
    # 8 layers x 4 micro batches in flight on the first stage, and one layer with its gradients.
    assert activations({}) == 32 * layer.input + 2 * layer.kept
    assert activations({}, stage=2) == 16 * layer.input + 2 * layer.kept
    assert activations(BARE) == 32 * layer.kept + layer.kept
    assert activations({"recompute-num-layers": 2}) == pytest.approx(8 * layer.input + 24 * layer.kept + 2 * layer.kept)
    assert activations({"recompute-method": "uniform", "recompute-num-layers": 4}) == 8 * layer.input + 5 * layer.kept


def test_the_logits_are_on_the_last_stage() -> None:
    plan, _ = read({})
    layer = _plan_memory.layer_bytes(plan)
    assert activations({}, stage=3) - 8 * layer.input - 2 * layer.kept == 4096 * 16000 * 12


def test_few_micro_batches_keep_a_pipeline_empty() -> None:
    assert activations({**BARE, "global-batch-size": 4}) < activations(BARE)
    plan, _ = read({**BARE, "global-batch-size": 4})
    assert _plan_memory.layers_in_flight(plan, 0, 8) == 2 * 8


def test_interleaved_stages_keep_more() -> None:
    plan, _ = read({"num-layers-per-virtual-pipeline-stage": 2})
    # 2 x 3 + 3 x 4 + 1 chunks of two layers (core/pipeline_parallel/schedules.py).
    assert _plan_memory.layers_in_flight(plan, 0, 8) == 19 * 2


@calm
@given(plans())
def test_sharing_out_and_recomputing_never_cost_activations(drawn: tuple[dict[str, Any], int, str]) -> None:
    changes, world, stack = drawn
    plan, found = read({**changes, **BARE, "use-flash-attn": False}, world, 512, stack)
    whole = _plan_memory.memory(plan, found, 512)
    for less in ({"recompute-granularity": "selective"}, {"use-flash-attn": True}):
        plan, found = read({**changes, **BARE, "use-flash-attn": False, **less}, world, 512, stack)
        assert _plan_memory.memory(plan, found, 512).activations < whole.activations
    assert math.isfinite(whole.all)


def test_the_fullest_stage_is_told() -> None:
    plan, found = read({})
    most = _plan_memory.memory(plan, found, 32000)
    assert most.stage == 3
    assert most.all == most.static + most.activations == _plan_sizes.static_bytes(plan, found[3]) + int(activations({}, stage=3))
    assert _plan_memory.memory(*read(BARE), 32000).stage == 0
