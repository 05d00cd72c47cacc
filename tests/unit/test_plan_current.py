"""Rules of a plan of the current stack, and the checkpoint files it makes."""
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _plan, _shards

from tests import stacks

STACK = stacks.read("current")
OPTIONS = STACK["options"]

PLAN: dict[str, Any] = {
    "tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4, "expert-model-parallel-size": 2, "sequence-parallel": True,
    "num-experts": 8, "moe-router-topk": 2, "moe-grouped-gemm": True, "moe-token-dispatcher-type": "alltoall_seq", "disable-bias-linear": True,
    "num-layers": 32, "hidden-size": 4096, "ffn-hidden-size": 14336, "num-attention-heads": 32, "num-query-groups": 8, "seq-length": 4096,
    "max-position-embeddings": 32768, "micro-batch-size": 1, "global-batch-size": 128, "bf16": True, "fp16": False, "train-iters": 1000,
    "save-interval": 1000, "transformer-impl": "transformer_engine", "ckpt-format": "torch", "tokenizer-type": "HuggingFaceTokenizer",
    "normalization": "RMSNorm", "use-flash-attn": True, "swiglu": True, "position-embedding-type": "rope",
}
ALLTOALL = {"moe-token-dispatcher-type": "alltoall"}
HALF = {"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "moe-grouped-gemm": False}
DENSE = {"num-experts": None, "expert-model-parallel-size": 1}

BROKEN: list[tuple[dict[str, Any], int, list[str]]] = [
    ({}, 0, ["nobody to train"]),
    ({}, 4, ["Too few ranks", "world size is 4", "2 x 4 = 8", "Megatron-LM refuses"]),
    ({}, 12, ["multiple of", "2 x 4 = 8"]),
    ({"expert-model-parallel-size": 4}, 16, ["Experts cannot be spread over the ranks", "world size is 16", "multiple of 32"]),
    ({"expert-tensor-parallel-size": 1}, 16, ["plan_expert_tensor_parallel_size is 1, expected plan_tensor_model_parallel_size, 2", "alltoall_seq"]),
    ({"expert-tensor-parallel-size": 1, "expert-model-parallel-size": 1, **ALLTOALL}, 16,
     ["A checkpoint could not be loaded", "plan_expert_tensor_parallel_size is 1", "rank 1 reads the file of mp_rank_01_000, which nobody writes"]),
    ({"expert-tensor-parallel-size": 4, "expert-model-parallel-size": 1, **ALLTOALL}, 16, ["mp_rank_00_000, which several ranks write over each other"]),
    ({"expert-tensor-parallel-size": 3, "tensor-model-parallel-size": 4, "ffn-hidden-size": 12, "pipeline-model-parallel-size": 1,
      "global-batch-size": 129, **ALLTOALL}, 12, ["rank 6 reads the file of mp_rank_02_000, which is another rank's"]),
    ({"num-experts": None}, 16, ["plan_expert_model_parallel_size is 2", "plan_num_experts is not set"]),
    ({"num-experts": 7}, 16, ["plan_num_experts is 7"]),
    ({"sequence-parallel": False}, 16, ["plan_sequence_parallel is false, expected true"]),
    ({"spec": ["local"]}, 16, ["plan_extra_arguments['spec'] is local"]),
    ({"moe-router-topk": 9}, 16, ["plan_moe_router_topk is 9, expected at most plan_num_experts, 8"]),
    ({"num-layers": 30}, 16, ["plan_num_layers is 30, expected a multiple of 4", "plan_pipeline_model_parallel_size is 4"]),
    ({"account-for-loss-in-pipeline-split": True}, 16, ["plan_num_layers is 32 (so 33 with embedding and loss", "multiple of 4"]),
    ({"num-attention-heads": 31, "num-query-groups": 1, "hidden-size": 31}, 16, ["plan_num_attention_heads is 31"]),
    ({"num-query-groups": 6}, 16, ["plan_num_attention_heads is 32", "plan_num_query_groups is 6"]),
    ({"hidden-size": 4095}, 16, ["plan_hidden_size is 4095", "multiple of 32"]),
    ({"ffn-hidden-size": 14335}, 16, ["plan_ffn_hidden_size is 14335", "multiple of 2", "plan_tensor_model_parallel_size is 2"]),
    ({"moe-ffn-hidden-size": 13}, 16, ["plan_extra_arguments['moe-ffn-hidden-size'] is 13 (so 13), expected a multiple of 2"]),
    ({"expert-tensor-parallel-size": 4, "ffn-hidden-size": 14338, **ALLTOALL}, 16, ["plan_ffn_hidden_size is 14338", "plan_expert_tensor_parallel_size is 4"]),
    ({"context-parallel-size": 2, "seq-length": 4094}, 16, ["plan_seq_length is 4094, expected a multiple of 8"]),
    ({"context-parallel-size": 3, "context-parallel-algo": "ulysses_cp_algo", "seq-length": 4092, "global-batch-size": 2}, 48,
     ["plan_num_attention_heads is 32, expected a multiple of 6"]),
    ({"max-position-embeddings": 2048}, 16, ["plan_max_position_embeddings is 2048"]),
    ({"use-fused-rmsnorm": True, "normalization": "LayerNorm"}, 16, ["plan_use_fused_rmsnorm is true"]),
    ({"squared-relu": True}, 16, ["plan_extra_arguments['squared-relu'] and", "exclude each other"]),
    ({"global-batch-size": 127}, 16, ["plan_global_batch_size is 127"]),
    ({"rampup-batch-size": [16, 8], "train-iters": False, "train-samples": 6400}, 16, ["a list of three"]),
    ({"num-layers-per-virtual-pipeline-stage": 3}, 16, ["expected a divisor of the layers of a stage, 8"]),
    ({"num-layers-per-virtual-pipeline-stage": 8}, 16, ["['num-layers-per-virtual-pipeline-stage'] is 8, expected less than the layers of a stage, 8"]),
    ({"num-virtual-stages-per-pipeline-rank": 3}, 16, ["['num-virtual-stages-per-pipeline-rank'] is 3, expected a divisor"]),
    ({"num-layers-per-virtual-pipeline-stage": 2, "pipeline-model-parallel-size": 1}, 16, ["interleaved", "more than 1, found 1"]),
    ({"num-layers-per-virtual-pipeline-stage": 2, "pipeline-model-parallel-size": 2, "no-overlap-p2p-communication": True}, 16, ["more than 2, found 2"]),
    ({"num-layers-per-virtual-pipeline-stage": 2, "global-batch-size": 6}, 16, ["multiple of plan_pipeline_model_parallel_size, 4, found 3"]),
    ({"num-virtual-stages-per-pipeline-rank": 2, "global-batch-size": 6}, 16, ["['num-virtual-stages-per-pipeline-rank'] is 2", "found 3"]),
    ({"train-iters": False}, 16, ["Neither plan_train_iters nor"]),
    ({"lr-warmup-fraction": 0.01, "lr-warmup-iters": 5}, 16, ["plan_lr_warmup_fraction is 0.01 and"]),
    ({"lr-warmup-fraction": 1.0}, 16, ["plan_lr_warmup_fraction is 1.0"]),
    ({"lr": 1e-6, "min-lr": 1e-5}, 16, ["plan_min_lr is 1e-05"]),
    ({"start-weight-decay": 0.1}, 16, ["plan_extra_arguments['start-weight-decay'] is 0.1"]),
    ({"override-opt_param-scheduler": True, "use-checkpoint-opt_param-scheduler": True}, 16, ["exclude each other"]),
    ({"log-interval": 1001}, 16, ["nothing would be logged"]),
    ({"use-checkpoint-args": True}, 16, ["needs plan_load"]),
    ({"precision": "half"}, 16, ["plan_precision is 'half', expected bf16 or fp16 or fp32"]),
    ({"bf16": True, "fp16": True, "expert-model-parallel-size": 1}, 16, ["Both bf16 and fp16"]),
    ({"bf16": False, "fp16": True, "moe-grouped-gemm": False}, 16, ["plan_precision is fp16, expected bf16, because plan_expert_model_parallel_size is 2"]),
    ({"loss-scale": -1}, 16, ["plan_extra_arguments['loss-scale'] is -1"]),
    ({"overlap-param-gather": True, "use-distributed-optimizer": True}, 16, ["needs plan_extra_arguments['overlap-grad-reduce']"]),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 3}, 16, ["expected a divisor of 8"]),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 8, "num-virtual-stages-per-pipeline-rank": 2}, 16,
     ["expected a divisor of 4"]),
    ({"distribute-saved-activations": True, "recompute-granularity": "full", "recompute-method": "block"}, 16, ["and plan_sequence_parallel exclude"]),
    ({"split": "0,0,0"}, 16, ["plan_split is '0,0,0'"]),
    ({"batch-size": 8}, 16, ["plan_extra_arguments['batch-size'] is 8", "plan_micro_batch_size"]),
    ({"encoder-seq-length": 8}, 16, ["plan_extra_arguments['encoder-seq-length'] is 8"]),
    ({"context_parallel_size": 2}, 16, ["'context-parallel-size'"]),
    ({"seed": 0}, 16, ["plan_seed is 0"]),
    ({"num-layers": "many"}, 16, ["plan_num_layers is 'many'"]),
    # Options of the recipe's stack alone, and of nobody.
    ({"moe-train-capacity-factor": 1.1}, 16,
     ["plan_moe_train_capacity_factor is 1.1, which is no option of Megatron-LM a845aa7e or MindSpeed 57a33053. Set it to"]),
    ({"noisy-gate-policy": "RSample"}, 16, ["plan_noisy_gate_policy is RSample, which is no option", "Set it to false"]),
    ({"moe-model-type": "mixtral_moe"}, 16, ["plan_moe_model_type is mixtral_moe, which is no option", "Set it to false"]),
    ({"contex-parallel-size": 2}, 16, ["plan_extra_arguments['contex-parallel-size'] is 2, which is no option", "is 'context-parallel-size' meant? Remove it"]),
    # What the roles cannot train, load or judge.
    ({"tokenizer-type": "PretrainedFromHF"}, 16, ["['tokenizer-type'] is PretrainedFromHF, expected HuggingFaceTokenizer", "loss mask", "1711"]),
    ({"use-legacy-models": True}, 16, ["plan_extra_arguments['use-legacy-models'] is True, expected none", "no Mixtral"]),
    ({"ckpt-format": "torch_dist"}, 16, ["plan_ckpt_format is torch_dist, expected torch", "storage that all nodes share"]),
    ({"ckpt-format": False}, 16, ["plan_ckpt_format is not set, expected torch"]),
    ({"use-tp-pp-dp-mapping": True}, 16, ["plan_extra_arguments['use-tp-pp-dp-mapping'] is True, expected none", "order of ranks"]),
    ({**HALF, "moe-grouped-gemm": True}, 16, ["plan_precision is fp16, expected bf16, because plan_moe_grouped_gemm is True"]),
    ({"bf16": False, "reuse-fp32-param": True, "moe-grouped-gemm": False}, 16,
     ["plan_precision is neither bf16 nor fp16, expected bf16, because plan_extra_arguments['reuse-fp32-param'] is True"]),
    ({"moe-fb-overlap": True}, 16,
     ["plan_moe_token_dispatcher_type is alltoall_seq, expected alltoall or flex, because plan_extra_arguments['moe-fb-overlap']"]),
    ({"moe-fb-overlap": True, **ALLTOALL}, 16,
     ["plan_expert_tensor_parallel_size is not set, expected 1, because plan_extra_arguments['moe-fb-overlap'] is True"]),
    ({"fix-router": True, "expert-model-parallel-size": 1}, 16, ["plan_expert_model_parallel_size is 1, expected more than 1, because"]),
    ({"use-distributed-optimizer": True, "optimizer": "sgd"}, 16, ["plan_extra_arguments['optimizer'] is sgd, expected adam or muon or dist_muon or none"]),
]


def combined(findings: list[Any]) -> set[str]:
    return {finding.rule.split(":")[0] for finding in findings}


@pytest.mark.parametrize(("change", "world", "words"), BROKEN)
def test_a_broken_rule_names_its_variables(change: dict[str, Any], world: int, words: list[str]) -> None:
    errors = _plan.plan_errors({**PLAN, **change}, STACK, world)
    assert any(all(word in error for word in words) for error in errors), errors
    assert all("plan_" in error for error in errors)


def test_every_rule_is_broken_by_one_of_these() -> None:
    broken = set().union(*(combined(_plan.broken_rules({**PLAN, **change}, STACK, world)) for change, world, _ in BROKEN))
    assert broken == {name for name, said in STACK["rules"].items() if said is not False}


@pytest.mark.parametrize(("change", "world"), [
    ({}, 16), ({"expert-model-parallel-size": 4, "context-parallel-size": 2}, 32), ({"context-parallel-size": 2}, 16),
    ({"expert-tensor-parallel-size": 1, **ALLTOALL}, 16), ({"expert-tensor-parallel-size": 1, "expert-model-parallel-size": 4, **ALLTOALL}, 16),
    ({"moe-router-topk": 3}, 16), ({"bf16": False, "moe-grouped-gemm": False}, 16), ({"bf16": False, "moe-grouped-gemm": False, "precision": "fp32"}, 16),
    (HALF, 16), ({**DENSE, "sequence-parallel": False, "seq-length": 4095}, 16), ({"reuse-fp32-param": True, "use-distributed-optimizer": True}, 16),
    ({"num-layers-per-virtual-pipeline-stage": 4, "pipeline-model-parallel-size": 2}, 16), ({"num-virtual-stages-per-pipeline-rank": 4}, 16),
    ({"num-virtual-stages-per-pipeline-rank": 1, "global-batch-size": 6}, 16), ({"transformer-impl": "local"}, 16), ({"optimizer": "sgd"}, 16),
    ({"num-layers": 30, "account-for-embedding-in-pipeline-split": True, "account-for-loss-in-pipeline-split": True}, 16),
    ({"rotary-interleaved": True, "no-rope-fusion": True}, 16), ({"moe-ffn-hidden-size": 14, "ffn-hidden-size": 13}, 16),
    ({"use-distributed-optimizer": True, "untie-embeddings-and-output-weights": False, "hidden-size": 4128, "num-attention-heads": 32}, 16),
    ({"moe-fb-overlap": True, "expert-tensor-parallel-size": 1, "num-layers-per-virtual-pipeline-stage": 4, **ALLTOALL}, 16),
    ({"use-fused-swiglu": True, "swiglu": False}, 16), ({**DENSE, "expert-tensor-parallel-size": 2, "moe-ffn-hidden-size": 13}, 16),
    ({"moe-router-load-balancing-type": "sinkhorn", "moe-aux-loss-coeff": 0.0}, 16), ({"encoder-tensor-model-parallel-size": 0}, 16),
    ({"position-embedding-type": "learned_absolute", "use-rotary-position-embeddings": True, "use-fused-rotary-pos-emb": True}, 16),
])
def test_what_the_real_code_takes_is_taken(change: dict[str, Any], world: int) -> None:
    assert _plan.plan_errors({**PLAN, **change}, STACK, world) == []


def test_a_part_of_a_plan_is_judged_by_what_it_has() -> None:
    assert _plan.plan_errors({"tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4}, STACK, 16) == []
    assert _plan.plan_errors({}, STACK, 1) == []
    assert _plan.plan_errors({"moe-grouped-gemm": False, "use-distributed-optimizer": True}, STACK, 1) == []


def test_options_of_the_combinations_are_the_stacks() -> None:
    known = {name for kind in ("whole", "fraction", "flag", "words", "text") for name in OPTIONS[kind].split()} | OPTIONS["choices"].keys()
    for combination in STACK["rules"]["combinations"]["of"]:
        assert combination.keys() <= {"when", "expect", "because"}
        assert "when" in combination or "because" in combination
        for option, wanted in {**combination.get("when", {}), **combination["expect"]}.items():
            assert option in known, option
            words = OPTIONS["choices"].get(option, "").split()
            assert not words or isinstance(wanted, bool) or {str(word) for word in wanted if word is not None} <= set(words), (option, wanted)
    assert set(STACK["rules"]["known_options"]["unjudged"].split()) <= known


def test_what_is_not_judged_is_a_warning() -> None:
    assert _plan.plan_warnings({**PLAN, "mtp-num-layers": 1}, STACK) == [
        "plan_extra_arguments['mtp-num-layers'] is 1: what it needs is not judged here, the training may refuse it at its start."]
    assert _plan.plan_warnings(PLAN, STACK) == []


def test_the_last_logged_iteration() -> None:
    assert _plan.last_logged_iteration({"train-iters": 250}, STACK) == 200


def files(plan: dict[str, Any], node: int, nproc: int, nnodes: int) -> list[str]:
    return [path.split("/")[1] for path in _shards.expected_shards({**PLAN, **plan}, STACK, node, nproc, nnodes, 20)]


# As the real parallel state has them: get_checkpoint_name, written where get_expert_data_parallel_rank() is 0 (checkpointing.py:405).
WIDE = {"pipeline-model-parallel-size": 1}
SPLIT = {**WIDE, "expert-tensor-parallel-size": 1}


def test_shards_are_written_where_the_expert_data_parallel_rank_is_0() -> None:
    assert files(WIDE, 0, 4, 2) == ["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000", "mp_rank_01_001"]
    assert files(WIDE, 1, 4, 2) == []
    # With a tensor rank an expert two ranks write, and each of the tensor ranks has other experts.
    assert files(SPLIT, 0, 2, 2) == ["mp_rank_00_000", "mp_rank_01_001"]
    assert files(SPLIT, 1, 2, 2) == []
    assert files({**SPLIT, "expert-model-parallel-size": 4}, 0, 2, 2) == ["mp_rank_00_000", "mp_rank_01_001"]
    assert files({**SPLIT, "expert-model-parallel-size": 4}, 1, 2, 2) == ["mp_rank_00_002", "mp_rank_01_003"]
    # Context ranks are among those that experts are spread over.
    assert files({**WIDE, "context-parallel-size": 2}, 0, 4, 1) == ["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000", "mp_rank_01_001"]
    assert len(files({}, 1, 8, 2)) == 8


def test_every_node_reads_what_its_ranks_need() -> None:
    read = [_shards.required_shards({**PLAN, **SPLIT}, STACK, node, 2, 2, 20) for node in (0, 1)]
    assert read[0] == read[1] == [f"iter_0000020/{folder}/model_optim_rng.pt" for folder in ("mp_rank_00_000", "mp_rank_01_001")]
    moves = _shards.shard_transfers({**PLAN, **SPLIT}, STACK, [{path: ["1", "2"] for path in read[0]}, {}], 2, 20)
    assert moves == {"lost": [], "transfers": [[], [{"source": 0, "files": read[0]}]], "given": [read[0], []]}


def test_ranks_that_do_not_divide_have_no_shards() -> None:
    with pytest.raises(ValueError, match="the 4 ranks of a stage are no multiple of expert tensor size x expert parallel size, 1 x 8"):
        files({**SPLIT, "expert-model-parallel-size": 8}, 0, 4, 1)
    with pytest.raises(ValueError, match="world size 12 is not a multiple of TP x PP x CP = 8"):
        files({}, 0, 12, 1)
