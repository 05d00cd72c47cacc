"""Rules of a plan, and the checkpoint files it makes."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import plan_errors as errors_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _argv, _plan
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import OWN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import stacks

ROOT = Path(__file__).parents[2]
STACK = stacks.read("recipe")

# The machine that runs the tests may be busy: no limits on time.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECIPE: dict[str, Any] = {
    "tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4, "expert-model-parallel-size": 2,
    "sequence-parallel": True, "num-experts": 8, "moe-router-topk": 2, "num-layers": 32, "hidden-size": 4096,
    "ffn-hidden-size": 14336, "num-attention-heads": 32, "num-query-groups": 8, "seq-length": 4096,
    "max-position-embeddings": 32768, "micro-batch-size": 1, "global-batch-size": 128, "bf16": True, "fp16": False,
    "train-iters": 1000, "save-interval": 1000,
}


def test_the_recipe_is_a_plan() -> None:
    assert _plan.plan_errors(RECIPE, STACK, 16) == []
    assert _plan.plan_warnings(RECIPE, STACK) == []
    assert _plan.data_parallel_size(RECIPE, STACK, 16) == 2


def test_names_may_be_variables_and_values_strings() -> None:
    plan = {"plan_" + name.replace("-", "_"): str(value) for name, value in RECIPE.items() if name not in ("bf16", "fp16")}
    plan["plan_precision"] = "bf16"
    assert _plan.plan_errors(plan, STACK, 16) == []


SHARED = {"use-distributed-optimizer": True, "untie-embeddings-and-output-weights": False}
SMALL = {"tensor-model-parallel-size": 1, "pipeline-model-parallel-size": 2, "hidden-size": 8, "ffn-hidden-size": 16, "num-attention-heads": 2,
         "num-query-groups": 1, "kv-channels": 1, "group-query-attention": True}
BROKEN: list[tuple[dict[str, Any], int, list[str]]] = [
    ({}, 4, ["Too few ranks", "world size is 4", "2 x 4 = 8", "silently", "plan_pipeline_model_parallel_size"]),
    ({}, 12, ["multiple of", "2 x 4 = 8", "plan_nproc_per_node"]),
    ({}, 0, ["nobody to train"]),
    ({"expert-model-parallel-size": 4}, 16, ["plan_expert_model_parallel_size is 4", "data parallel size 2"]),
    ({"num-layers": 30}, 16, ["plan_num_layers is 30", "multiple of 4", "plan_pipeline_model_parallel_size is 4"]),
    ({"num-attention-heads": 31, "num-query-groups": 1, "hidden-size": 31}, 16, ["plan_num_attention_heads is 31"]),
    ({"num-query-groups": 1}, 16, ["plan_num_query_groups is 1"]),
    ({"num-query-groups": 6}, 16, ["plan_num_attention_heads is 32", "plan_num_query_groups is 6"]),
    ({"seq-length": 4095}, 16, ["plan_seq_length is 4095"]),
    ({"num-experts": 7}, 16, ["plan_num_experts is 7"]),
    ({"num-experts": None}, 16, ["plan_expert_model_parallel_size is 2", "plan_num_experts is not set"]),
    ({"global-batch-size": 127}, 16, ["plan_global_batch_size is 127", "plan_micro_batch_size 1"]),
    ({"sequence-parallel": False}, 16, ["plan_sequence_parallel is false, expected true"]),
    ({"sequence-parallel": "false"}, 16, ["plan_sequence_parallel is 'false'", "without quotes"]),
    ({"bf16": False, "fp16": True}, 16, ["plan_precision is fp16, expected bf16"]),
    ({"bf16": True, "fp16": True, "expert-model-parallel-size": 1}, 16, ["Both bf16 and fp16"]),
    ({"precision": "half"}, 16, ["plan_precision is 'half'"]),
    ({"context-parallel-size": 2, "expert-model-parallel-size": 1}, 24, ["plan_extra_arguments['context-parallel-size']",
                                                                          "2 x 4 x 2 = 16"]),
    ({"context-parallel-size": 2, "global-batch-size": 128}, 32, ["plan_extra_arguments['context-parallel-size'] is 2"]),
    ({"moe-router-topk": 3}, 16, ["plan_moe_router_topk is 3, expected 1 or 2"]),
    ({"num-experts": 1, "moe-router-topk": 2, "expert-model-parallel-size": 1}, 16, ["at most plan_num_experts"]),
    ({"reuse-fp32-param": True, "use-distributed-optimizer": True}, 16, ["exclude each other"]),
    ({"reuse-fp32-param": True, "bf16": False}, 16, ["needs plan_precision: bf16"]),
    ({"num-layers-per-virtual-pipeline-stage": 3}, 16, ["expected a divisor of the layers of a stage, 8"]),
    ({"num-layers-per-virtual-pipeline-stage": 2, "pipeline-model-parallel-size": 2}, 16, ["interleaved", "more than 2"]),
    ({"max-position-embeddings": 2048}, 16, ["plan_max_position_embeddings is 2048"]),
    ({"num-layers": "many"}, 16, ["plan_num_layers is 'many'", "whole number"]),
    ({"micro-batch-size": 0}, 16, ["plan_micro_batch_size is 0"]),
    ({"ffn-hidden-size": 14335}, 16, ["plan_ffn_hidden_size is 14335", "multiple of 2"]),
    ({"ffn-hidden-size": "", "tensor-model-parallel-size": 3, "hidden-size": 64, "num-attention-heads": 6, "num-query-groups": 3, "kv-channels": 8,
      "seq-length": 48, "expert-model-parallel-size": 1, "global-batch-size": 4, "pipeline-model-parallel-size": 1}, 6,
     ["plan_ffn_hidden_size is not set (so 256), expected a multiple of 3"]),
    ({"ffn-hidden-size": "", "swiglu": True, "tensor-model-parallel-size": 3, "hidden-size": 128, "num-attention-heads": 6, "num-query-groups": 3,
      "kv-channels": 8, "seq-length": 48, "expert-model-parallel-size": 1, "global-batch-size": 4, "pipeline-model-parallel-size": 1}, 6,
     ["plan_ffn_hidden_size is not set (so 320), expected a multiple of 3"]),
    ({"hidden-size": 4095}, 16, ["plan_hidden_size is 4095", "multiple of 32", "plan_extra_arguments['kv-channels']"]),
    ({"context_parallel_size": 2}, 16, ["plan_extra_arguments has 'context_parallel_size'", "'context-parallel-size'"]),
    ({"batch-size": 8}, 16, ["plan_extra_arguments['batch-size'] is 8", "plan_micro_batch_size"]),
    ({"encoder-seq-length": 8}, 16, ["plan_extra_arguments['encoder-seq-length'] is 8", "'seq-length'", "4096"]),
    ({"spec": ["local"]}, 16, ["plan_extra_arguments['spec'] is local", "plan_num_experts is 8"]),
    ({"context-parallel-size": 3, "expert-model-parallel-size": 1, "seq-length": 4098, "global-batch-size": 2}, 48,
     ["plan_num_attention_heads is 32", "multiple of 6", "plan_extra_arguments['context-parallel-size'] is 3", "ulysses_cp_algo"]),
    ({"context-parallel-size": 3, "expert-model-parallel-size": 1, "context-parallel-algo": "megatron_cp_algo"}, 48,
     ["plan_seq_length is 4096", "multiple of 12", "plan_tensor_model_parallel_size is 2 and plan_extra_arguments['context-parallel-size'] is 3"]),
    ({"decoder-seq-length": 40000}, 16, ["plan_max_position_embeddings is 32768", "plan_extra_arguments['decoder-seq-length'], 40000"]),
    ({"standalone-embedding-stage": True}, 16, ["plan_extra_arguments['standalone-embedding-stage'] is True",
                                                "plan_pipeline_model_parallel_size is 4", "IndexError"]),
    ({"standalone-embedding-stage": True, "use-mcore-models": True, "transformer-impl": "transformer_engine"}, 16, ["fewer layers than plan_num_layers"]),
    ({"pipeline-model-parallel-split-rank": 4}, 16, ["plan_extra_arguments['pipeline-model-parallel-split-rank'] is 4", "less than", "4."]),
    ({"rotary-interleaved": True, "no-rope-fusion": True}, 16, ["needs plan_extra_arguments['no-rope-fusion']", "['use-mcore-models']"]),
    ({"no-position-embedding": True}, 16, ["plan_extra_arguments['no-position-embedding'] needs plan_position_embedding_type: rope"]),
    ({"use-fused-rotary-pos-emb": True}, 16, ["plan_extra_arguments['use-fused-rotary-pos-emb'] needs"]),
    ({"use-fused-rmsnorm": True, "normalization": "LayerNorm"}, 16, ["plan_use_fused_rmsnorm is true", "plan_normalization is LayerNorm"]),
    ({"apply-layernorm-1p": True, "normalization": "RMSNorm"}, 16, ["plan_extra_arguments['apply-layernorm-1p'] needs plan_normalization: LayerNorm"]),
    ({"use-fused-swiglu": True}, 16, ["plan_extra_arguments['use-fused-swiglu'] needs plan_extra_arguments['swiglu']"]),
    ({"squared-relu": True, "swiglu": True}, 16, ["exclude each other"]),
    ({"squared-relu": True}, 16, ["plan_extra_arguments['squared-relu'] needs plan_extra_arguments['no-bias-gelu-fusion']"]),
    ({"rampup-batch-size": [16, 8], "train-iters": False, "train-samples": 6400}, 16, ["is [16, 8]", "a list of three"]),
    ({"rampup-batch-size": [16, 8, "x"], "train-iters": False, "train-samples": 6400}, 16, ["a list of three"]),
    ({"rampup-batch-size": [128, 8, 100], "train-iters": False, "train-samples": 6400}, 16, ["starts with 128", "plan_global_batch_size, 128, from below"]),
    ({"rampup-batch-size": [16, 5, 100], "train-iters": False, "train-samples": 6400}, 16, ["starts with 16 and adds 5", "come out"]),
    ({"rampup-batch-size": [1, 127, 100], "train-iters": False, "train-samples": 6400}, 16, ["starts with 1 and adds 127", "multiples of 2"]),
    ({"rampup-batch-size": [126, 1, 100], "train-iters": False, "train-samples": 6400}, 16, ["starts with 126 and adds 1", "multiples of 2"]),
    ({"num-layers-per-virtual-pipeline-stage": 2, "global-batch-size": 6}, 16,
     ["plan_extra_arguments['num-layers-per-virtual-pipeline-stage'] is 2", "plan_pipeline_model_parallel_size, 4, found 3"]),
    ({"train-iters": False}, 16, ["Neither plan_train_iters nor plan_extra_arguments['train-samples'] is set"]),
    ({"train-samples": 6400}, 16, ["plan_train_iters is 1000 and plan_extra_arguments['train-samples'] is 6400", "plan_train_iters to false"]),
    ({"lr-decay-samples": 5}, 16, ["plan_extra_arguments['lr-decay-samples'] is 5", "plan_train_iters is 1000"]),
    ({"train-iters": False, "train-samples": 6400, "lr-warmup-iters": 5}, 16, ["plan_extra_arguments['lr-warmup-iters'] is 5", "by samples"]),
    ({"lr-warmup-fraction": 0.01, "lr-warmup-iters": 5}, 16, ["plan_lr_warmup_fraction is 0.01 and plan_extra_arguments['lr-warmup-iters'] is 5"]),
    ({"lr-warmup-fraction": 1.0}, 16, ["plan_lr_warmup_fraction is 1.0, expected less than 1"]),
    ({"lr-warmup-iters": 1000}, 16, ["plan_extra_arguments['lr-warmup-iters'] is 1000, expected less than plan_train_iters, 1000"]),
    ({"lr-warmup-iters": 20, "lr-decay-iters": 20}, 16, ["expected less than plan_extra_arguments['lr-decay-iters'], 20"]),
    ({"lr": ""}, 16, ["plan_lr is not set"]),
    ({"lr": 1e-6, "min-lr": 1e-5}, 16, ["plan_min_lr is 1e-05, expected at most plan_lr, 1e-06"]),
    ({"lr": 1e-6, "lr-warmup-init": 1e-5}, 16, ["plan_extra_arguments['lr-warmup-init'] is 1e-05, expected at most plan_lr"]),
    ({"start-weight-decay": 0.1}, 16, ["plan_extra_arguments['start-weight-decay'] is 0.1, expected none", "plan_weight_decay"]),
    ({"weight-decay-incr-style": "linear", "end-weight-decay": 0.1}, 16, ["['start-weight-decay'] and", "are needed"]),
    ({"weight-decay-incr-style": "cosine", "start-weight-decay": 0.2, "end-weight-decay": 0.1}, 16, ["is 0.2, expected from 0 to", "0.1"]),
    ({"override-opt_param-scheduler": True, "use-checkpoint-opt_param-scheduler": True}, 16,
     ["plan_extra_arguments['override-opt_param-scheduler'] and", "exclude each other"]),
    ({"log-interval": 1001}, 16, ["plan_log_interval is 1001", "at most the 1000 iterations", "nothing would be logged"]),
    ({"log-interval": "", "train-iters": 99}, 16, ["plan_log_interval is not set", "at most the 99 iterations"]),
    ({"save": "/ckpt", "save-interval": ""}, 16, ["plan_save_interval is not set"]),
    ({"use-checkpoint-args": True}, 16, ["plan_extra_arguments['use-checkpoint-args'] needs plan_load"]),
    ({"bf16": False}, 16, ["plan_precision is neither bf16 nor fp16"]),
    ({"fp16-lm-cross-entropy": True}, 16, ["plan_extra_arguments['fp16-lm-cross-entropy'] needs plan_precision: fp16"]),
    ({"fp32-residual-connection": True, "bf16": False}, 16, ["plan_extra_arguments['fp32-residual-connection'] needs plan_precision: bf16"]),
    ({"loss-scale": -1}, 16, ["plan_extra_arguments['loss-scale'] is -1", "more than 0"]),
    ({"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "initial-loss-scale": 0.5}, 16,
     ["plan_initial_loss_scale is 0.5", "plan_extra_arguments['min-loss-scale'], 1.0", "fp16"]),
    ({"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "min-loss-scale": 0}, 16, ["plan_extra_arguments['min-loss-scale'] is 0"]),
    ({"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "hysteresis": 0}, 16, ["plan_extra_arguments['hysteresis'] is 0"]),
    ({"overlap-param-gather": True, "overlap-grad-reduce": True}, 16, ["['overlap-param-gather'] needs plan_extra_arguments['use-distributed-optimizer']"]),
    ({"overlap-param-gather": True, "use-distributed-optimizer": True}, 16, ["['overlap-param-gather'] needs plan_extra_arguments['overlap-grad-reduce']"]),
    ({"use-distributed-optimizer": True, "optimizer": "sgd"}, 16, ["plan_extra_arguments['optimizer'] is sgd, expected adam"]),
    ({"use-distributed-optimizer": True, "untie-embeddings-and-output-weights": False, "global-batch-size": 120}, 48,
     ["plan_hidden_size is 4096", "multiple of 6", "untie-embeddings-and-output-weights'] is not set"]),
    ({"recompute-granularity": "selective", "recompute-method": "block"}, 16, ["plan_recompute_method is block, expected false"]),
    ({"recompute-activations": True, "recompute-num-layers": 4}, 16, ["plan_recompute_num_layers is 4, expected false"]),
    ({"recompute-granularity": "full", "recompute-method": ""}, 16, ["plan_recompute_method is not set, expected block or uniform"]),
    ({"recompute-granularity": "full", "recompute-num-layers": None}, 16, ["plan_recompute_num_layers is not set"]),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 3}, 16,
     ["plan_recompute_num_layers is 3, expected a divisor of 8"]),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 4, "num-layers-per-virtual-pipeline-stage": 2}, 16,
     ["plan_recompute_num_layers is 4, expected a divisor of 2"]),
    ({"distribute-saved-activations": True, "recompute-granularity": "full", "recompute-method": "block"}, 16, ["and plan_sequence_parallel exclude"]),
    ({"distribute-saved-activations": True, "sequence-parallel": False, "num-experts": "", "expert-model-parallel-size": 1}, 16,
     ["plan_extra_arguments['distribute-saved-activations'] needs plan_recompute_granularity: full"]),
    ({"distribute-saved-activations": True, "tensor-model-parallel-size": 1, "recompute-granularity": "full", "recompute-method": "block"}, 16,
     ["needs plan_tensor_model_parallel_size of more than 1"]),
    ({"use-dist-ckpt": True}, 16, ["plan_extra_arguments['use-dist-ckpt'] is True", "plan_extra_arguments['use-mcore-models']"]),
    ({"moe-grouped-gemm": True}, 16, ["plan_moe_grouped_gemm is True, expected none", "NPU"]),
    ({"transformer-impl": "transformer_engine"}, 16, ["plan_transformer_impl is transformer_engine, expected local"]),
    ({"split": "0,0,0"}, 16, ["plan_split is '0,0,0'"]),
    ({"split": "1,1,1,1"}, 16, ["plan_split is '1,1,1,1'", "up to three"]),
    ({"split": "1.1.1"}, 16, ["plan_split is '1.1.1'"]),
    ({"lr-decay-style": "cubic"}, 16, ["plan_lr_decay_style is 'cubic'", "constant, linear, cosine, inverse-square-root"]),
    ({"clip-grad": "much"}, 16, ["plan_clip_grad is 'much', expected a number"]),
    ({"overlap-grad-reduce": "true"}, 16, ["plan_extra_arguments['overlap-grad-reduce'] is 'true'", "without quotes"]),
    ({"attention-dropout": 1.5}, 16, ["plan_attention_dropout is 1.5, expected a number from 0 to 1."]),
    ({"adam-beta1": 1.0}, 16, ["plan_adam_beta1 is 1.0, expected a number from 0 to less than 1."]),
    ({"min-lr": float("nan")}, 16, ["plan_min_lr is nan, expected a number of at least 0"]),
    ({"context-parallel-size": 2, "expert-model-parallel-size": 1}, 8, ["Too few ranks", "2 x 4 x 2 = 16"]),
    ({}, 1, ["Too few ranks", "world size is 1"]),
    ({"num-layers-per-virtual-pipeline-stage": 16}, 16, ["expected a divisor of the layers of a stage, 8"]),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 0}, 16, ["plan_recompute_num_layers is 0", "divisor of 8"]),
    ({"weight-decay-incr-style": "linear", "start-weight-decay": -0.1, "end-weight-decay": 0.1}, 16, ["is -0.1, expected from 0"]),
    ({**SHARED, "pipeline-model-parallel-size": 2, "global-batch-size": 120}, 24, ["plan_hidden_size is 4096", "multiple of 6"]),
    ({**SHARED, "ffn-hidden-size": 14338}, 16, ["plan_hidden_size is 4096", "multiple of 2", "so the attention and feed-forward biases"]),
    ({**SHARED, **SMALL, "num-query-groups": 2}, 8, ["plan_hidden_size is 8", "multiple of 4"]),
    ({**SHARED, **SMALL, "group-query-attention": False}, 8, ["plan_hidden_size is 8", "multiple of 4"]),
    ({**SHARED, "expert-model-parallel-size": 1, "context-parallel-size": 2, "hidden-size": 4098, "kv-channels": 128}, 32, ["multiple of 4"]),
    ({"distribute-saved-activations": True, "sequence-parallel": False, "num-experts": "", "expert-model-parallel-size": 1,
      "recompute-granularity": "full", "recompute-method": ""}, 16, ["['distribute-saved-activations'] needs plan_recompute_granularity: full"]),
    ({"seed": 0}, 16, ["plan_seed is 0, expected a whole number of at least 1"]),
    ({"ckpt-format": "torch"}, 16, ["plan_ckpt_format is torch, which is no option of Megatron-LM 9de386d0 or AscendSpeed 9264e3c0", "Set it to false"]),
]


@pytest.mark.parametrize(("change", "world", "words"), BROKEN)
def test_a_broken_rule_names_its_variables(change: dict[str, Any], world: int, words: list[str]) -> None:
    errors = _plan.plan_errors({**RECIPE, **change}, STACK, world)
    assert any(all(word in error for word in words) for error in errors), errors
    assert all("plan_" in error for error in errors)


def test_every_rule_is_broken_by_one_of_these() -> None:
    broken = {finding.rule.split(":")[0] for change, world, _ in BROKEN for finding in _plan.broken_rules({**RECIPE, **change}, STACK, world)}
    # Without expert tensor parallelism no checkpoint has gaps.
    assert broken == {rule.__name__ for rule in _plan.RULES if STACK["rules"][rule.__name__] is not False} - {"shards"}


@pytest.mark.parametrize(("change", "world"), [
    ({"hidden-size": 4100, "kv-channels": 128}, 16),
    ({"tensor-model-parallel-size": 1, "seq-length": 4095, "global-batch-size": 8}, 16),
    ({"sequence-parallel": False, "num-experts": None, "expert-model-parallel-size": 1, "seq-length": 4095}, 16),
    ({"moe-router-topk": 4, "moe-model-type": "megatron_moe"}, 16),
    ({"group-query-attention": False, "num-query-groups": 3}, 16),
    ({"recompute-granularity": "selective", "recompute-method": False, "recompute-num-layers": ""}, 16),
    ({"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 4}, 16),
    ({"recompute-granularity": "full", "recompute-method": "block", "recompute-num-layers": 0}, 16),
    ({"lr-warmup-iters": 999, "lr-warmup-fraction": False}, 16), ({"lr-warmup-iters": 0, "lr-warmup-fraction": 0.1}, 16),
    ({"lr": 1e-6, "min-lr": 1e-6}, 16),
    ({"train-iters": False, "train-samples": 128000, "lr-decay-samples": 64000, "lr-warmup-samples": 63999}, 16),
    ({"train-iters": None, "train-samples": 128000, "rampup-batch-size": [64, "32", 1000]}, 16),
    ({"num-layers-per-virtual-pipeline-stage": 4}, 16), ({"num-layers": [32]}, 16), ({"log-interval": 1000}, 16),
    ({"overlap-param-gather": True, "overlap-grad-reduce": True, "use-distributed-optimizer": True}, 16),
    ({"use-distributed-optimizer": True, "bf16": False}, 16), ({"use-distributed-optimizer": True, "untie-embeddings-and-output-weights": False}, 16),
    ({"context-parallel-size": 2, "expert-model-parallel-size": 1}, 32), ({"reuse-fp32-param": True}, 16),
    ({"standalone-embedding-stage": True, "pipeline-model-parallel-size": 1, "num-layers": 3}, 4),
    ({"sequence-parallel": True, "fp16": "", "global-batch-size": None}, 16), ({"use-mcore-models": True, "transformer-impl": "transformer_engine"}, 16),
    ({"weight-decay-incr-style": "linear", "start-weight-decay": 0.1, "end-weight-decay": 0.1}, 16), ({"split": "969, 30, 1"}, 16),
    ({"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "initial-loss-scale": 1}, 16), ({"loss-scale": 0}, 16),
    ({"use-checkpoint-args": True, "load": "/ckpt"}, 16), ({"squared-relu": True, "disable-bias-linear": True}, 16),
    ({"plan_use_flash_attn": "true", "plan_sequence_parallel": "true"}, 16),
    ({"pipeline-model-parallel-split-rank": 3}, 16), ({"expert-model-parallel-size": 1}, 8), ({"override-opt_param-scheduler": True}, 16),
    ({"save": "/ckpt"}, 16), ({"save-interval": ""}, 16), ({"log-interval": "", "train-iters": 100}, 16), ({**SHARED, **SMALL}, 8),
    ({**SHARED, "pipeline-model-parallel-size": 1, "global-batch-size": 120}, 12),
    ({**SHARED, "ffn-hidden-size": 14338, "disable-bias-linear": True}, 16),
    ({"distribute-saved-activations": True, "sequence-parallel": False, "num-experts": "", "expert-model-parallel-size": 1,
      "recompute-granularity": "full", "recompute-method": "block", "recompute-num-layers": 1}, 16),
    ({"num-layers-per-virtual-pipeline-stage": 1, "pipeline-model-parallel-size": 3, "num-layers": 33, "expert-model-parallel-size": 1,
      "global-batch-size": 3}, 6),
    ({"bf16": False, "fp16": True, "expert-model-parallel-size": 1, "fp32-residual-connection": True}, 16),
    ({"weight-decay-incr-style": "linear", "start-weight-decay": 0.0, "end-weight-decay": 0.1}, 16), ({"a-new-option": 1}, 16),
    ({"normalization": "RMSNorm"}, 16), ({"max-position-embeddings": 4096}, 16), ({"num-experts": 2}, 16),
    ({"tensor-model-parallel-size": 1, "sequence-parallel": False}, 16), ({"context-parallel-algo": "megatron_cp_algo", "seq-length": 4098}, 16),
    ({"pipeline-model-parallel-size": 1, "pipeline-model-parallel-split-rank": 1}, 16), ({"attention-dropout": 1, "adam-beta1": 0}, 16),
])
def test_what_the_real_code_takes_is_taken(change: dict[str, Any], world: int) -> None:
    plan = {**RECIPE, **change}
    assert _plan.plan_errors({name: value for name, value in plan.items() if f"plan_{name.replace('-', '_')}" not in change}, STACK, world) == []


@pytest.mark.parametrize(("rules", "words"), [
    ({"routing": None}, "routing is None"), ({"routing": {"topk": 2}}, "routing: got an unexpected keyword argument .topk."),
    ({"shards": True}, "shards: missing"),
    ({"roting": True}, "roting is no rule"), ({"split": "yes"}, "split is 'yes'"),
])
def test_a_stack_says_of_every_rule_whether_it_holds(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _plan.plan_errors(RECIPE, {**STACK, "rules": {**STACK["rules"], **rules}}, 16)
    with pytest.raises(ValueError, match="saving is not there"):
        _plan.plan_errors(RECIPE, {**STACK, "rules": {name: said for name, said in STACK["rules"].items() if name != "saving"}}, 16)


def test_a_part_of_a_plan_is_judged_by_what_it_has() -> None:
    assert _plan.plan_errors({"tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4}, STACK, 16) == []
    assert _plan.plan_errors({}, STACK, 1) == []
    assert _plan.plan_errors({"log-interval": 5}, STACK, 1) == []


def test_one_broken_rule_gives_one_message() -> None:
    assert len(_plan.plan_errors({**RECIPE, "seq-length": 4095}, STACK, 16)) == 1
    assert len(_plan.plan_errors(RECIPE, STACK, 4)) == 1
    interleaved = {**RECIPE, "num-layers-per-virtual-pipeline-stage": 2}
    assert [finding.rule for finding in _plan.broken_rules({**interleaved, "global-batch-size": 127}, STACK, 16)] == ["whole_micro_batches"]
    assert [finding.rule for finding in _plan.broken_rules(interleaved, STACK, 12)] == ["ranks_divide"]
    heads = {"num-attention-heads": 31, "num-query-groups": "", "kv-channels": 8}
    assert [finding.rule for finding in _plan.broken_rules({**RECIPE, **heads}, STACK, 16)] == ["heads_per_tensor_rank"]
    assert [finding.rule for finding in _plan.broken_rules({**RECIPE, "num-layers": "many", "num-experts": 0}, STACK, 16)] == [
        "values:num-layers", "bounds:num-experts"]


def test_a_world_that_is_no_multiple_has_no_data_parallel_size() -> None:
    with pytest.raises(ValueError, match="world size 16 is not a multiple of TP x PP x CP = 12"):
        _plan.data_parallel_size({"tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 3, "context-parallel-size": 2}, STACK, 16)


def test_interval_that_does_not_divide() -> None:
    assert _plan.plan_warnings({"train-iters": 20, "save-interval": 10}, STACK) == []
    assert _plan.plan_warnings({"save-interval": 10}, STACK) == []
    assert "at iteration 5, the one before at none" in _plan.plan_warnings({"train-iters": 5, "save-interval": 10}, STACK)[0]
    plan = {"train-iters": 25, "save-interval": 10}
    assert "saved at iteration 25, the one before at 20" in _plan.plan_warnings(plan, STACK)[0]


@pytest.mark.parametrize(("plan", "last"), [
    ({"train-iters": 1000, "log-interval": 1}, 1000), ({"train-iters": 1000, "log-interval": 300}, 900),
    ({"train-iters": 1000, "log-interval": 1000}, 1000), ({"train-iters": 10, "log-interval": 11}, 0), ({"train-iters": 250}, 200),
    ({"plan_train_iters": "25", "plan_log_interval": "10"}, 20), ({"log-interval": 5}, 0), ({}, 0),
    ({"train-samples": 1000, "global-batch-size": 64, "log-interval": 4}, 12),
    # 32 + 32 + 48 + 48 samples, and 13 whole batches of the 840 that are left.
    ({"train-samples": 1000, "global-batch-size": 64, "rampup-batch-size": [32, 16, 128], "log-interval": 1}, 17),
])
def test_the_last_logged_iteration(plan: dict[str, Any], last: int) -> None:
    assert _plan.last_logged_iteration(plan, STACK) == last


def test_an_option_that_is_not_known_is_a_warning() -> None:
    assert _plan.plan_warnings({"contex-parallel-size": 2, "seed": 1, "plan_seed": 1}, STACK) == [
        "plan_extra_arguments has 'contex-parallel-size', which is no option of Megatron-LM 9de386d0 or AscendSpeed 9264e3c0: "
        "is 'context-parallel-size' meant?"]
    assert "Is it one of the version in use?" in _plan.plan_warnings({"zzz": 2}, STACK)[0]


def test_variables_of_their_own_are_those_of_the_role() -> None:
    defaults = yaml.safe_load((ROOT / "roles/plan/defaults/main.yml").read_text(encoding="utf-8"))
    others = {"plan_nproc_per_node", "plan_extra_arguments", "plan_deterministic", "plan_tokenizer_entries", "plan_npu_memory_gib",
              "plan_save_mb_per_second"}
    assert {f"plan_{name}" for name in OWN | set(STACK["plan"])} >= defaults.keys() - others
    assert {f"plan_{name}" for name in OWN} <= defaults.keys()


def test_what_is_judged_is_what_is_launched(tmp_path: Path) -> None:
    """An empty further argument takes nothing out of the launch; a variable that is false does."""
    folders = {f"cluster_{name}": f"/{name}" for name in ("tokenizer_dir", "checkpoint_dir", "data_prefix", "data_cache_dir")}
    role = [str(ROOT / f"roles/plan/{part}/main.yml") for part in ("defaults", "vars")]
    changes = {"plan_lr_warmup_fraction": False, "plan_extra_arguments": {"lr-warmup-iters": 0, "num-experts": "", "swiglu": False, "seed": None}}
    copy = {"ansible.builtin.copy": {"content": "{{ {'settings': plan_settings, 'argv': plan_argv} | to_json }}", "dest": str(tmp_path / "plan.json")}}
    given = {**folders, "cluster_stack_data": STACK}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": given, "vars_files": role, "tasks": [copy]}]))
    subprocess.run(["ansible-playbook", tmp_path / "play.yml", "-e", json.dumps(changes)], cwd=ROOT, check=True, capture_output=True,
                   env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
    made = json.loads((tmp_path / "plan.json").read_text())
    assert made["argv"] == _argv.argv(made["settings"])
    assert [made["settings"][name] for name in ("lr-warmup-iters", "num-experts", "swiglu", "seed", "lr-warmup-fraction")] == [0, 8, True, 1234, False]
    assert _plan.plan_errors(made["settings"], STACK, 16) == []


@calm
@given(st.dictionaries(st.sampled_from(sorted(RECIPE)), st.one_of(st.integers(-2, 64), st.text("ab 1-", max_size=4), st.booleans(),
                                                                  st.none())), st.integers(-1, 64))
def test_any_input_gives_messages_and_never_an_exception(change: dict[str, Any], world: int) -> None:
    errors = _plan.plan_errors({**RECIPE, **change}, STACK, world)
    assert all(isinstance(error, str) and error for error in errors)


def test_the_filter() -> None:
    assert errors_filter.FilterModule().filters()["plan_errors"](RECIPE, STACK, "16") == []
    with pytest.raises(AnsibleFilterError, match="expected a mapping"):
        errors_filter.plan_errors([], STACK, 16)  # type: ignore[arg-type]
