"""Rules of a plan, and the checkpoint files it makes."""
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import plan_errors as errors_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    assert _plan.plan_errors(RECIPE, 16) == []
    assert _plan.plan_warnings(RECIPE) == []
    assert _plan.data_parallel_size(RECIPE, 16) == 2


def test_names_may_be_variables_and_values_strings() -> None:
    plan = {"plan_" + name.replace("-", "_"): str(value) for name, value in RECIPE.items() if name not in ("bf16", "fp16")}
    plan["plan_precision"] = "bf16"
    assert _plan.plan_errors(plan, 16) == []


@pytest.mark.parametrize(("change", "world", "words"), [
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
])
def test_a_broken_rule_names_its_variables(change: dict[str, Any], world: int, words: list[str]) -> None:
    errors = _plan.plan_errors({**RECIPE, **change}, world)
    assert any(all(word in error for word in words) for error in errors), errors
    assert all("plan_" in error for error in errors)


def test_one_broken_rule_gives_one_message() -> None:
    assert len(_plan.plan_errors({**RECIPE, "seq-length": 4095}, 16)) == 1
    assert len(_plan.plan_errors(RECIPE, 4)) == 1


def test_interval_that_does_not_divide() -> None:
    plan = {"train-iters": 25, "save-interval": 10}
    assert "saved at iteration 25, the one before at 20" in _plan.plan_warnings(plan)[0]


@calm
@given(st.dictionaries(st.sampled_from(sorted(RECIPE)), st.one_of(st.integers(-2, 64), st.text("ab 1-", max_size=4), st.booleans(),
                                                                  st.none())), st.integers(-1, 64))
def test_any_input_gives_messages_and_never_an_exception(change: dict[str, Any], world: int) -> None:
    errors = _plan.plan_errors({**RECIPE, **change}, world)
    assert all(isinstance(error, str) and error for error in errors)


def test_the_filter() -> None:
    assert errors_filter.FilterModule().filters()["plan_errors"](RECIPE, "16") == []
    with pytest.raises(AnsibleFilterError, match="expected a mapping"):
        errors_filter.plan_errors([], 16)  # type: ignore[arg-type]
