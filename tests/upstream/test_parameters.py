"""Our parameters per rank beside those that the real model of the stack prints for every rank; upstream's report of memory beside ours."""
import json

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _argv, _plan, _plan_sizes

from tests.upstream import plans

SMALL = {"hidden-size": 64, "ffn-hidden-size": 96, "num-attention-heads": 8, "num-query-groups": 4, "num-layers": 8, "seq-length": 64,
         "max-position-embeddings": 64, "recompute-num-layers": 8, "num-experts": 4, "global-batch-size": 48}
UNSEQUENCED = {"sequence-parallel": False}
DENSE = {"num-experts": None, "expert-model-parallel-size": 1}


def sizes(tensor, pipeline, expert):
    return {"tensor-model-parallel-size": tensor, "pipeline-model-parallel-size": pipeline, "expert-model-parallel-size": expert}


# Name: changes of role plan's defaults, ranks, entries of the tokenizer.
CASES = {
    "one rank": ({**SMALL, **sizes(1, 1, 1), **UNSEQUENCED}, 1, 320),
    "tensor": ({**SMALL, **sizes(2, 1, 1)}, 2, 321),
    "pipeline": ({**SMALL, **sizes(1, 4, 1), **UNSEQUENCED}, 4, 320),
    "experts": ({**SMALL, **sizes(1, 1, 4), **UNSEQUENCED}, 4, 320),
    "all of them": ({**SMALL, **sizes(2, 2, 2)}, 8, 333),
    "more replicas than expert ranks": ({**SMALL, **sizes(2, 2, 2)}, 16, 320),
    "interleaved": ({**SMALL, **sizes(2, 4, 2), "num-layers-per-virtual-pipeline-stage": 1, "global-batch-size": 32}, 16, 320),
    "a multiple of the vocabulary": ({**SMALL, **sizes(4, 2, 1), "make-vocab-size-divisible-by": 128}, 8, 321),
    "one embedding": ({**SMALL, **sizes(2, 2, 1), "untie-embeddings-and-output-weights": False}, 4, 320),
    "one embedding on one stage": ({**SMALL, **sizes(2, 1, 1), "untie-embeddings-and-output-weights": False}, 2, 320),
    "no groups of queries": ({**SMALL, **sizes(2, 2, 2), "group-query-attention": False}, 8, 320),
    "dense, with biases and LayerNorm": ({**SMALL, **sizes(2, 2, 1), **DENSE, "disable-bias-linear": False, "swiglu": False, "add-qkv-bias": True,
                                          "normalization": "LayerNorm", "use-fused-rmsnorm": False}, 4, 320),
    "dense, with LayerNorm, on one rank": ({**SMALL, **sizes(1, 1, 1), **DENSE, **UNSEQUENCED, "normalization": "LayerNorm", "use-fused-rmsnorm": False},
                                           1, 320),
    "positions that are learned": ({**SMALL, **sizes(2, 2, 2), "position-embedding-type": "learned_absolute"}, 8, 320),
    "heads of a size of their own": ({**SMALL, **sizes(2, 2, 2), "kv-channels": 16}, 8, 320),
    "the role's plan in full size": ({}, 16, 32000),
    "the role's model on 64 ranks": (sizes(4, 2, 8), 64, 32000),
}
if "expert-tensor-parallel-size" in plans.OPTIONS.whole:
    CASES |= {
        "whole experts on each tensor rank": ({**SMALL, **sizes(2, 2, 2), "expert-tensor-parallel-size": 1, "moe-token-dispatcher-type": "alltoall"}, 8, 320),
        "experts one by one": ({**SMALL, **sizes(2, 2, 2), "moe-grouped-gemm": False}, 8, 320),
        "experts of a size of their own": ({**SMALL, **sizes(2, 2, 2), "moe-ffn-hidden-size": 32}, 8, 320),
        "an expert that all share": ({**SMALL, **sizes(2, 2, 2), "moe-shared-expert-intermediate-size": 32, "moe-token-dispatcher-type": "alltoall"}, 8, 320),
        "norms of queries and keys": ({**SMALL, **sizes(2, 2, 2), "qk-layernorm": True}, 8, 320),
        "embedding and loss counted as layers": ({**SMALL, **sizes(2, 2, 2), "num-layers": 6, "recompute-num-layers": 6,
                                                  "account-for-embedding-in-pipeline-split": True, "account-for-loss-in-pipeline-split": True}, 8, 320),
    }
else:
    CASES |= {
        "upstream's own experts": ({**SMALL, **sizes(2, 2, 2), "moe-model-type": "megatron_moe"}, 8, 320),
        "experts with gates though nothing says so": ({**SMALL, **sizes(2, 2, 2), "swiglu": False, "disable-bias-linear": False}, 8, 320),
        "a stage of the embedding alone": ({**SMALL, **sizes(2, 3, 2), "standalone-embedding-stage": True}, 12, 320),
        "a bias of the attention's output": ({**SMALL, **sizes(2, 2, 2), "add-dense-bias": True, "skip-bias-add": False}, 8, 320),
    }


def plan_of(name):
    changes, world, vocabulary = CASES[name]
    return {**plans.ROLE, **changes}, world, vocabulary


@pytest.fixture(scope="module")
def built(ask):
    """What the real code makes of each case."""
    questions = [plan_of(name) for name in CASES]
    lines = ask(questions="".join(json.dumps({"words": _argv.argv(plan), "world_size": world, "vocabulary": vocabulary, "parameters": True}) + "\n"
                                  for plan, world, vocabulary in questions)).splitlines()
    assert len(lines) == len(CASES)
    return dict(zip(CASES, map(json.loads, lines)))


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_of_the_real_model(built, name):
    plan, world, vocabulary = plan_of(name)
    assert _plan.plan_errors(plan, plans.DATA, world) == []
    assert built[name]["accepted"], built[name]
    ranks = built[name]["parameters"]
    assert len(ranks) == world
    _, stages = _plan_sizes.read(plan, plans.DATA, world, vocabulary)
    assert [count for _, _, count in ranks] == [stages[pipeline].all for pipeline, _, _ in ranks]
    printed = [(pipeline, count) for pipeline, count, _ in ranks if count is not None]
    assert {pipeline for pipeline, _ in printed} == set(range(len(stages)))
    assert all(count == stages[pipeline].all for pipeline, count in printed)


def test_upstream_s_report_is_right_for_a_dense_model_on_one_rank(built):
    name = "dense, with LayerNorm, on one rank"
    plan, stages = _plan_sizes.read(plan_of(name)[0], plans.DATA, 1, 320)
    assert built[name]["report"] == _plan_sizes.static_bytes(plan, stages[0])


@pytest.mark.parametrize("name", ["experts", "all of them", "the role's plan in full size"])
def test_upstream_s_report_counts_the_experts_of_all_expert_ranks(built, name):
    settings, world, vocabulary = plan_of(name)
    plan, stages = _plan_sizes.read(settings, plans.DATA, world, vocabulary)
    first = stages[0]
    # Within 1 %: norms with biases and none of the routers are counted, and a part of the last norm.
    assert built[name]["report"] == pytest.approx(18 * (first.all + (plan.ep - 1) * first.experts), rel=0.01)
    assert built[name]["report"] > 1.3 * _plan_sizes.static_bytes(plan, first)
