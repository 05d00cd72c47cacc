"""A plan read as what its arguments are, and the rules' common form."""
from __future__ import annotations

import functools
from typing import Any, Callable, Iterator, Mapping, NamedTuple

from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import Options, outside, plain, words

_TRUE = {"true", "yes", "on", "1", "y", "t"}

# Arguments that roles/plan has as variables of their own, beside those whose defaults are a stack's (its `plan`); all others come through
# plan_extra_arguments.
OWN = words("""
    tensor_model_parallel_size pipeline_model_parallel_size expert_model_parallel_size sequence_parallel num_experts moe_router_topk
    moe_router_load_balancing_type moe_aux_loss_coeff moe_train_capacity_factor noisy_gate_policy moe_model_type num_layers hidden_size
    ffn_hidden_size num_attention_heads num_query_groups seq_length max_position_embeddings make_vocab_size_divisible_by
    attention_dropout hidden_dropout init_method_std position_embedding_type normalization use_fused_rmsnorm use_flash_attn
    recompute_method recompute_granularity recompute_num_layers micro_batch_size global_batch_size train_iters lr min_lr lr_decay_style
    lr_warmup_fraction weight_decay clip_grad adam_beta1 adam_beta2 initial_loss_scale precision seed split load no_load_optim no_load_rng
    save_interval log_interval eval_interval eval_iters
""")


Stack = Mapping[str, Any]


class Finding(NamedTuple):
    """A broken rule: its name, and a message with what was found, what was expected and the variables."""

    rule: str
    message: str


class Plan:
    """Typed access to a plan of a stack.

    What cannot be read, is out of bounds or no option of the stack counts as absent but for the rules that name it.
    """

    def __init__(self, plan: Mapping[str, Any], stack: Stack, world_size: int = 0) -> None:
        self.world = world_size
        self.options = Options(stack["options"])
        self.own = OWN | set(stack.get("plan", ()))
        self.names = tuple(plan)
        self.named = {plain(name) for name in plan}
        self.written: dict[str, Any] = {}
        for name, value in plan.items():
            # The empty values are those that the filter argv leaves out; a list of one word is that word.
            if value is None or value is False or value == "":
                continue
            self.written[plain(name)] = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
        self.given = {name: value for name, value in self.written.items() if name == "precision" or self._readable(self.options.name(name), value)}

    def _readable(self, option: str, value: object) -> bool:
        return option in self.options.known and not self.options.misread(option, value) and not outside(option, value)

    def variable(self, name: str) -> str:
        """Name the variable that sets an argument: ``plan_num_layers`` or ``plan_extra_arguments['…']``."""
        if plain(name) in ("bf16", "fp16"):
            return "plan_precision"
        return f"plan_{plain(name)}" if plain(name) in self.own else f"plan_extra_arguments['{self.options.name(name)}']"

    def has(self, *names: str) -> bool:
        """Whether all of these are given."""
        return all(name in self.given for name in names)

    def is_any(self, words: Mapping[str, Any]) -> bool:
        """Whether one of these options has this word."""
        return any(self.text(plain(name)) == str(word) for name, word in words.items())

    def emptied(self, *names: str) -> bool:
        """Whether all of these are named without a value: a part of a plan, which names none, is not judged by what it lacks."""
        return all(name in self.named and name not in self.written for name in names)

    def number(self, name: str, default: int = 1) -> int:
        """A whole number."""
        return int(str(self.given.get(name, default)))

    def effective(self, name: str) -> Any:
        """What is in effect: a value, true for a flag, None for what is not there; a parallel size is there also where it is not given."""
        sizes = {"tensor_model_parallel_size": self.tp, "pipeline_model_parallel_size": self.pp, "context_parallel_size": self.cp,
                 "expert_model_parallel_size": self.ep, "expert_tensor_parallel_size": self.etp}
        flags = {"bf16": self.bf16, "fp16": self.fp16}
        if self.options.name(name) in self.options.flag:
            return flags.get(name, self.flag(name)) or None
        return sizes.get(name, self.given.get(name))

    def fraction(self, name: str, default: float) -> float:
        """Any number."""
        return float(str(self.given.get(name, default)))

    def flag(self, name: str) -> bool:
        """Whether an option without a value is there."""
        return str(self.given.get(name, False)).strip().lower() in _TRUE

    def text(self, name: str, default: str = "") -> str:
        """A word."""
        return str(self.given.get(name, default))

    @property
    def tp(self) -> int:
        """Tensor parallel size."""
        return self.number("tensor_model_parallel_size")

    @property
    def pp(self) -> int:
        """Pipeline parallel size."""
        return self.number("pipeline_model_parallel_size")

    @property
    def cp(self) -> int:
        """Context parallel size."""
        return self.number("context_parallel_size")

    @property
    def ep(self) -> int:
        """Expert parallel size."""
        return self.number("expert_model_parallel_size")

    @property
    def etp(self) -> int:
        """Tensor parallel size of the experts: without the option that of all else."""
        return self.number("expert_tensor_parallel_size", self.tp)

    @property
    def dp(self) -> int:
        """Data parallel size; 0 where the ranks do not divide into replicas."""
        replica = self.tp * self.pp * self.cp
        return self.world // replica if self.world > 0 and self.world % replica == 0 else 0

    @property
    def layers(self) -> int:
        """Layers that are spread over the stages: the embedding and the loss may count as one (current: arguments.py:446-450)."""
        counted = ("account_for_embedding_in_pipeline_split", "account_for_loss_in_pipeline_split")
        return self.number("num_layers") + sum(self.flag(name) for name in counted)

    @property
    def uneven(self) -> bool:
        """Whether the stages have numbers of layers of their own (current: arguments.py:478-482)."""
        return any(self.has(name) for name in ("decoder_first_pipeline_num_layers", "decoder_last_pipeline_num_layers", "pipeline_model_parallel_layout"))

    @property
    def feed_forward(self) -> int:
        """Feed-forward columns: without a size Megatron-LM makes one (arguments.py:358-367)."""
        hidden = self.number("hidden_size", 0)
        return self.number("ffn_hidden_size", int((4 * hidden * 2 / 3) / 64) * 64 if self.flag("swiglu") else 4 * hidden)

    @property
    def micro_batches(self) -> int:
        """Micro batches of an iteration; 0 where they do not come out even (microbatches.py:62-71)."""
        size = self.number("micro_batch_size") * self.dp
        batch = self.number("global_batch_size", size)
        return batch // size if size and batch % size == 0 else 0

    @property
    def ramp(self) -> tuple[int, int, int] | None:
        """Start, increment and samples of a ramp of the batch size; None where there is none that can be read."""
        words = self.given.get("rampup_batch_size")
        try:
            start, increment, samples = (int(str(word)) for word in words) if isinstance(words, (list, tuple)) else (0, 0, 0)
        except ValueError:
            return None
        return (start, increment, samples) if min(start, increment, samples) > 0 else None

    @property
    def iterations(self) -> int:
        """Iterations of the training; 0 where that is not told (update_train_iters, training.py:301-328)."""
        samples, batch, steps = self.number("train_samples", 0), self.number("global_batch_size", 0), self.ramp
        if self.has("train_iters") or not samples or not batch:
            return self.number("train_iters", 0)
        iterations, consumed = 0, 0
        if steps and steps[0] < batch:
            start, increment, ramped = steps
            each = ramped / max((batch - start) // increment, 1)
            while consumed <= ramped:
                consumed += min(batch, start + int(consumed / each) * increment)
                iterations += 1
        return max(iterations + (samples - consumed) // batch, 0)

    @property
    def fp16(self) -> bool:
        """Whether it is trained in fp16."""
        return self.flag("fp16") or self.text("precision") == "fp16"

    @property
    def bf16(self) -> bool:
        """Whether it is trained in bf16."""
        return self.flag("bf16") or self.text("precision") == "bf16"

    @property
    def granularity(self) -> str:
        """What is recomputed: full, selective or nothing (arguments.py:216-218)."""
        return "selective" if self.flag("recompute_activations") else self.text("recompute_granularity")

    def is_(self, name: str) -> str:
        """``plan_num_layers is 30``."""
        if name in ("bf16", "fp16"):
            return f"plan_precision is {'bf16' if self.bf16 else 'fp16' if self.fp16 else 'neither bf16 nor fp16'}"
        return f"{self.variable(name)} is {self.written.get(name, 'not set')}"

    @property
    def ranks(self) -> str:
        """What the world is made of, for messages."""
        return f"the world size is {self.world} (plan_nproc_per_node x number of nodes)"

    @property
    def replica(self) -> str:
        """What a model replica is made of, for messages."""
        names = "plan_tensor_model_parallel_size x plan_pipeline_model_parallel_size"
        sizes = f"{self.tp} x {self.pp}"
        if self.cp > 1:
            names, sizes = f"{names} x {self.variable('context_parallel_size')}", f"{sizes} x {self.cp}"
        return f"{names}, {sizes} = {self.tp * self.pp * self.cp}"


# A rule is given the plan, and the parameters that the stack has for it.
Rule = Callable[..., Iterator[Finding]]


def rule(messages: Callable[..., Iterator[str]]) -> Rule:
    """A rule from a function that yields messages; it has the function's name."""
    @functools.wraps(messages)
    def findings(plan: Plan, **parameters: Any) -> Iterator[Finding]:
        for message in messages(plan, **parameters):
            yield Finding(messages.__name__, message)
    return findings
