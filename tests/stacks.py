"""A stack's data, as the filter reads it."""
from typing import Any

import yaml

from tests.playing import PROJECT

# Variables of role plan whose defaults are a stack's.
PLAN = ("ckpt_format", "expert_tensor_parallel_size", "moe_grouped_gemm", "moe_model_type", "moe_token_dispatcher_type", "moe_train_capacity_factor",
        "noisy_gate_policy", "transformer_impl")


def read(name: str) -> dict[str, Any]:
    """The options and rules of a stack, and its variables."""
    parts = {part: yaml.safe_load((PROJECT / f"stacks/{name}_{part}.yml").read_text(encoding="utf-8")) for part in ("options", "rules")}
    return {**parts, "plan": dict.fromkeys(PLAN)}
