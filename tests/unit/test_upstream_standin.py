"""The stand-ins of both stacks' Megatron-LM and AscendSpeed, as far as they go without torch."""
from __future__ import annotations

import argparse
import enum
import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator

import numpy
import pytest

from rehearsal import record_arguments, upstream

STACKS = {"recipe": "ascendspeed", "current": "mindspeed"}
PLAN = ["--num-layers", "4", "--hidden-size", "64", "--num-attention-heads", "4", "--seq-length", "64",
        "--max-position-embeddings", "64", "--micro-batch-size", "1", "--global-batch-size", "8", "--train-iters", "20",
        "--lr", "1e-3", "--min-lr", "1e-4", "--sequence-parallel", "--tensor-model-parallel-size", "2",
        "--num-experts", "4", "--expert-model-parallel-size", "2", "--bf16"]

recipe = pytest.mark.parametrize("stack", ["recipe"], indirect=True)
current = pytest.mark.parametrize("stack", ["current"], indirect=True)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder a stack with both stand-ins."""
    found = {}
    for stack in STACKS:
        found[stack] = tmp_path_factory.mktemp(stack)
        for name in upstream.NAMES:
            upstream.assemble(name, stack, found[stack] / name)
    return found


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def standins(stack: str, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both packages of a stack importable, and forgotten afterwards."""
    for name in upstream.NAMES:
        monkeypatch.syspath_prepend(str(trees[stack] / name))
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    yield trees[stack]
    for name in [name for name in sys.modules if name.split(".")[0] in ("megatron", *STACKS.values())]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def parsed(monkeypatch: pytest.MonkeyPatch, *words: str, adaptor: str = "") -> Any:
    """The arguments of a command line; ``adaptor`` names the stack whose second package adds its options."""
    parse_args = module("megatron.training.arguments").parse_args
    if adaptor:
        arguments = module(f"{STACKS[adaptor]}.arguments")
        parse_args = getattr(arguments, "parse_args_decorator" if adaptor == "recipe" else "parse_args_wrapper")(parse_args)
    monkeypatch.setattr(sys, "argv", ["pretrain_gpt.py", *PLAN, *words])
    return parse_args()


# Options

@pytest.mark.parametrize(("stack", "megatron", "ascendspeed", "counts"), [
    ("recipe", "9de386d08770d7296263a590171ace4ae45348ad", "9264e3c00edb4c16e38f26d5d2f364cba203ad7f", [278, 28]),
    ("current", "a845aa7e12b3a117e24c2352b9e3e60bad2e3a17", "57a33053c4eccd5b14aa58e3ca595ab414e65b94", [455, 179])])
def test_tables_are_of_the_pinned_commits(stack: str, megatron: str, ascendspeed: str, counts: list[int]) -> None:
    tables = {name: json.loads(path.read_text()) for name, path in record_arguments.tables(stack).items()}
    assert tables["Megatron-LM"]["commit"] == megatron
    assert tables["AscendSpeed"]["commit"] == ascendspeed
    assert [len(tables[name]["options"]) for name in upstream.NAMES] == counts
    assert all(table["origin"] == name for name, table in tables.items())


@recipe
def test_options_take_types_choices_and_defaults_of_the_table(standins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parsed(monkeypatch, "--noisy-gate-policy", "RSample", "--moe-model-type", "mixtral_moe",
                  "--no-gradient-accumulation-fusion", "--tokenizer-type", "PretrainedFromHF", adaptor="recipe")
    assert (args.num_layers, args.lr, args.bf16, args.fp16) == (4, 1e-3, True, False)
    assert (args.moe_model_type, args.noisy_gate_policy) == ("mixtral_moe", "RSample")
    assert args.gradient_accumulation_fusion is False
    assert (args.rank, args.world_size) == (1, 4)
    assert args.context_parallel_algo == "ulysses_cp_algo"


@current
def test_options_of_the_current_stack(standins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parsed(monkeypatch, "--transformer-impl", "transformer_engine", "--ckpt-format", "torch", "--moe-token-dispatcher-type", "alltoall_seq",
                  "--moe-grouped-gemm", "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", "/opt/tokenizer", "--npu-deterministic",
                  "--attention-backend", "flash", adaptor="current")
    assert (args.transformer_impl, args.ckpt_format, args.moe_token_dispatcher_type) == ("transformer_engine", "torch", "alltoall_seq")
    assert (args.moe_grouped_gemm, args.npu_deterministic, args.tokenizer_model) == (True, True, "/opt/tokenizer")
    assert (args.attention_backend, args.moe_layer_freq, args.expert_tensor_parallel_size) == ("flash", 1, None)
    assert parsed(monkeypatch, adaptor="current").ckpt_format == "torch_dist"


@pytest.mark.parametrize(("words", "message"), [
    (["--no-such-option"], "unrecognized arguments: --no-such-option"),
    (["--num-layer", "4"], "unrecognized arguments: --num-layer 4"),
    (["--num-layers", "four"], "argument --num-layers: invalid int value: 'four'"),
    (["--lr-decay-style", "steps"], "invalid choice: 'steps'"),
])
def test_what_the_real_parser_refuses_is_refused(standins: Path, stack: str, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(monkeypatch, *words, adaptor=stack)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("stack", "words", "message"), [
    ("recipe", ["--moe-model-type", "deepspeed_moe"], "invalid choice: 'deepspeed_moe'"),
    ("recipe", ["--tokenizer-type", "HuggingFaceTokenizer"], "invalid choice: 'HuggingFaceTokenizer'"),
    ("recipe", ["--ckpt-format", "torch"], "unrecognized arguments: --ckpt-format torch"),
    # What the recipe gives, and nobody reads any more.
    ("current", ["--moe-train-capacity-factor", "1.1"], "unrecognized arguments: --moe-train-capacity-factor 1.1"),
    ("current", ["--noisy-gate-policy", "RSample"], "unrecognized arguments: --noisy-gate-policy RSample"),
    ("current", ["--moe-model-type", "mixtral_moe"], "unrecognized arguments: --moe-model-type mixtral_moe"),
    ("current", ["--attention-backend", "slow"], "invalid choice: 'slow'"),
], indirect=["stack"])
def test_what_one_parser_refuses_is_refused(standins: Path, stack: str, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(monkeypatch, *words, adaptor=stack)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("stack", "words"), [("recipe", "--moe-model-type mixtral_moe"), ("current", "--npu-deterministic")], indirect=["stack"])
def test_without_the_adaptor_its_options_are_unknown(standins: Path, words: str, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(monkeypatch, *words.split())
    assert f"unrecognized arguments: {words}" in capsys.readouterr().err


@recipe
def test_the_literal_option_is_the_recorded_one(standins: Path) -> None:
    # A role reads the choices in this line of the source, as it does in upstream's.
    assert "choices=['mixtral_moe', 'megatron_moe']" in (standins / "AscendSpeed" / "ascendspeed" / "arguments.py").read_text()
    recorded = {entry["dest"]: entry for entry in json.loads(record_arguments.tables("recipe")["AscendSpeed"].read_text())["options"]}
    assert recorded["moe_model_type"]["choices"] == ["mixtral_moe", "megatron_moe"]


class Kind(enum.Enum):
    fast = 1
    slow = 2


def test_recording_an_option() -> None:
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group(title="some")
    group.add_argument("--count", "-c", type=int, default=3, choices=[1, 3], nargs="*")
    group.add_argument("--no-this", action="store_false", dest="this")
    group.add_argument("--kind", type=lambda name: Kind[name], default=Kind.slow, choices=list(Kind))

    assert record_arguments.options(parser) == [
        {"options": ["--count", "-c"], "dest": "count", "action": "store", "default": 3, "group": "some",
         "type": "int", "nargs": "*", "choices": [1, 3]},
        {"options": ["--no-this"], "dest": "this", "action": "store_false", "default": True, "group": "some"},
        {"options": ["--kind"], "dest": "kind", "action": "store", "default": "slow", "group": "some",
         "type": "str", "nargs": None, "choices": ["fast", "slow"], "parsed_by": "<lambda>"}]
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group(title="some")
    group.add_argument("--folder", default=os.getcwd())
    assert record_arguments.options(parser)[0]["default"] == "."
    group.add_argument("--odd", type=Path)
    with pytest.raises(ValueError, match=r"--odd.*cannot record"):
        record_arguments.options(parser)


def test_what_was_recorded_makes_the_same_parser(standins: Path) -> None:
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group(title="some")
    group.add_argument("--this", action=argparse.BooleanOptionalAction, default=True)
    group.add_argument("--kind", type=lambda name: Kind[name], default=Kind.slow, choices=list(Kind), nargs="+")
    group.add_argument("--much", action="store_const", const=3, dest="count", required=True)
    recorded = record_arguments.options(parser)
    again = module("megatron.training.arguments").add_recorded_options(argparse.ArgumentParser(), recorded)
    assert recorded[0]["options"] == ["--this", "--no-this"]
    assert record_arguments.options(again) == [{key: value for key, value in entry.items() if key != "parsed_by"} for entry in recorded]


def test_recording_needs_one_package_with_an_adaptor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 0 packages with megatron_adaptor.py: expected one"):
        record_arguments.package_of(tmp_path)
    (tmp_path / "mindspeed").mkdir()
    (tmp_path / "mindspeed/megatron_adaptor.py").touch()
    assert record_arguments.package_of(tmp_path) == "mindspeed"


# Validation

@pytest.mark.parametrize(("words", "world", "message"), [
    (["--expert-model-parallel-size", "3"], 4, "Number of experts should be a multiple"),
    (["--max-position-embeddings", "32"], 4, ""),
    (["--min-lr", "1"], 4, ""),
    (["--pipeline-model-parallel-size", "2", "--num-layers-per-virtual-pipeline-stage", "1", "--no-overlap-p2p-communication"], 8, "greater than 2"),
])
def test_rules_of_a_plan(standins: Path, words: list[str], world: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    with pytest.raises(AssertionError) as refused:
        module("megatron.training.arguments").validate_args(parsed(monkeypatch, *words))
    assert message in str(refused.value)


@pytest.mark.parametrize(("stack", "words", "message"), [
    ("recipe", ["--tensor-model-parallel-size", "3"], "world size (4) is not divisible by tensor model parallel size (3)"),
    ("current", ["--tensor-model-parallel-size", "3"], "world size (4) is not divisible by total_model_size"),
    ("current", ["--pipeline-model-parallel-size", "4"], "world size (4) is not divisible by total_model_size"),
    ("current", ["--pipeline-model-parallel-size", "2", "--num-layers", "5"], "Number of layers should be divisible"),
    ("current", ["--moe-grouped-gemm", "--fp32"], "only supports bf16"),
], indirect=["stack"])
def test_rules_of_one_stack(standins: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parsed(monkeypatch, *[word for word in words if word != "--fp32"])
    args.bf16 = "--fp32" not in words
    with pytest.raises(AssertionError) as refused:
        module("megatron.training.arguments").validate_args(args)
    assert message in str(refused.value)


def test_moe_with_tensor_parallelism_needs_sequence_parallelism(standins: Path, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = module("megatron.training.arguments")
    args = parsed(monkeypatch)
    args.sequence_parallel = False
    if stack == "recipe":
        with pytest.raises(AssertionError, match="sequence parallelism must be used"):
            arguments.validate_args(args)
        return
    # Only when the model runs.
    arguments.validate_args(args)
    with pytest.raises(ValueError, match="without also enabling sequence parallelism"):
        arguments.check_model_args(args)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("num_attention_heads", 5, "num_attention_heads (5) must be a multiple"),
    ("seq_length", 63, "63 is not divisible by 2"),
])
def test_rules_of_a_model(standins: Path, stack: str, name: str, value: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = module("megatron.training.arguments")
    args = parsed(monkeypatch, "--pipeline-model-parallel-size", "2", adaptor=stack)
    arguments.validate_args(args)
    arguments.check_model_args(args)
    setattr(args, name, value)
    with pytest.raises((AssertionError, ValueError)) as refused:
        arguments.check_model_args(args)
    assert message in str(refused.value)


@recipe
@pytest.mark.parametrize(("name", "value", "message"), [
    ("num_layers", 5, "num_layers must be divisible"),
    ("moe_router_topk", 3, "Only top-1 and top-2"),
])
def test_rules_of_the_recipes_model(standins: Path, name: str, value: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = module("megatron.training.arguments")
    args = parsed(monkeypatch, "--pipeline-model-parallel-size", "2", "--moe-model-type", "mixtral_moe", adaptor="recipe")
    arguments.validate_args(args)
    arguments.check_model_args(args)
    setattr(args, name, value)
    with pytest.raises((AssertionError, ValueError)) as refused:
        arguments.check_model_args(args)
    assert message in str(refused.value)


@current
@pytest.mark.parametrize(("words", "error", "message"), [
    (["--pipeline-model-parallel-size", "4", "--num-layers-per-virtual-pipeline-stage", "1"], ValueError, "please close --num-layers-per-virtual"),
    (["--gemm-gradient-accumulation-fusion"], AssertionError, "only support with `--moe-grouped-gemm`"),
    (["--save", "/ckpt", "--save-interval", "4"], NotImplementedError, "--ckpt-format torch_dist: the stand-in writes and loads torch only"),
    (["--encoder-tensor-model-parallel-size", "1"], NotImplementedError, "--encoder-tensor-model-parallel-size: the stand-in has no encoder"),
])
def test_refusals_of_the_current_stack(standins: Path, words: list[str], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    arguments = module("megatron.training.arguments")
    args = parsed(monkeypatch, *words, adaptor="current")
    with pytest.raises(error, match=re.escape(message)):
        module("mindspeed.arguments").validate_args_wrapper(arguments.validate_args)(args)


@current
def test_a_tokenizer_that_erases_the_loss_mask_is_refused_by_name(standins: Path) -> None:
    build = module("mindspeed.tokenizer").build_tokenizer_wrapper(lambda args: "another")
    assert build(argparse.Namespace(tokenizer_type="HuggingFaceTokenizer")) == "another"
    with pytest.raises(NotImplementedError, match=r"PretrainedFromHF.*use --tokenizer-type HuggingFaceTokenizer --tokenizer-model DIR"):
        build(argparse.Namespace(tokenizer_type="PretrainedFromHF"))


@recipe
def test_too_few_ranks_lower_the_plan_silently(standins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    args = parsed(monkeypatch, "--pipeline-model-parallel-size", "4")
    module("megatron.training.arguments").validate_args(args)
    assert (args.tensor_model_parallel_size, args.pipeline_model_parallel_size, args.data_parallel_size) == (1, 1, 1)
    assert capsys.readouterr().out == ""


# Ranks, shards and the schedule

def test_ranks_run_tensor_fastest_and_pipeline_slowest(standins: Path) -> None:
    state = module("megatron.core.parallel_state")
    layout = state.layout(16, tensor=2, pipeline=4, expert=2)
    assert layout.data == 2
    assert [layout.position(rank).tensor for rank in range(4)] == [0, 1, 0, 1]
    assert [layout.position(rank).data for rank in range(4)] == [0, 0, 1, 1]
    assert [layout.position(rank).pipeline for rank in (0, 3, 4, 15)] == [0, 0, 1, 3]
    assert layout.model_parallel_ranks(0) == [0, 1, 4, 5, 8, 9, 12, 13]
    wide = state.layout(16, tensor=2, pipeline=1, expert=2)
    assert [(wide.position(rank).expert, wide.position(rank).data_modulo_expert) for rank in (0, 2, 4, 6)] == [
        (0, 0), (1, 0), (0, 1), (1, 1)]
    assert wide.writers() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match=r"expert_model_parallel_size|expert_tensor_model_pipeline_parallel"):
        state.layout(8, tensor=2, pipeline=4, expert=2)


@recipe
def test_experts_and_context_do_not_go_together(standins: Path) -> None:
    layout = module("megatron.core.parallel_state").layout
    with pytest.raises(RuntimeError, match="data_parallel_size"):
        layout(8, tensor=2, pipeline=4, expert=2)
    with pytest.raises(RuntimeError, match="combination of expert model parallelism and context parallelism"):
        layout(16, tensor=2, pipeline=1, context=2, expert=2)
    assert layout(8, tensor=2, pipeline=1, context=2).writers() == [0, 1]


@current
@pytest.mark.parametrize(("world", "sizes", "places", "writers"), [
    # Experts are not cut into tensor slices: neighbours have other experts, and a tensor rank's file is written with some experts only.
    (4, {"tensor": 2, "expert": 2}, [(0, 0, 0), (1, 1, 0), (0, 0, 1), (1, 1, 1)], [0, 1]),
    (4, {"tensor": 2, "expert": 4}, [(0, 0, 0), (1, 1, 0), (0, 2, 0), (1, 3, 0)], [0, 1, 2, 3]),
    (2, {"tensor": 2, "expert": 1}, [(0, 0, 0), (1, 0, 1)], [0]),
    (4, {"tensor": 1, "context": 2, "expert": 2}, [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)], [0, 1]),
])
def test_expert_tensor_parallel_size_1(standins: Path, world: int, sizes: dict[str, int], places: list[tuple[int, int, int]], writers: list[int]) -> None:
    layout = module("megatron.core.parallel_state").layout(world, pipeline=1, expert_tensor=1, **sizes)
    found = [layout.position(rank) for rank in range(world)]
    assert [(place.tensor, place.expert, place.data_modulo_expert) for place in found] == places
    assert layout.writers() == writers


@pytest.mark.parametrize(("pipeline", "expert", "folder"), [
    (False, False, "mp_rank_01"), (True, False, "mp_rank_01_003"), (False, True, "mp_rank_01_002"),
    (True, True, "mp_rank_01_003_002"),
])
def test_names_of_shards(standins: Path, pipeline: bool, expert: bool, folder: str) -> None:
    name = module("megatron.training.checkpointing").get_checkpoint_name(
        "/ckpt", 20, pipeline_parallel=pipeline, tensor_rank=1, pipeline_rank=3, expert_parallel=expert, expert_rank=2)
    assert name == f"/ckpt/iter_0000020/{folder}/model_optim_rng.pt"


def test_shards_cover_everything_once(standins: Path) -> None:
    writers = module("megatron.core.parallel_state").layout(16, tensor=2, pipeline=4, expert=2).writers()
    assert writers == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    bounds = module("megatron.training.checkpointing").shard_bounds
    pieces = sorted(bounds(1003, shard, len(writers)) for shard in range(len(writers)))
    assert pieces[0][0] == 0
    assert pieces[-1][1] == 1003
    assert all(left[1] == right[0] for left, right in zip(pieces, pieces[1:]))


@pytest.mark.parametrize(("stack", "rate", "cache", "saved", "place"), [
    ("recipe", "1.250E-06", "abc-GPTDataset-", "  successfully saved checkpoint at iteration      20 to /ckpt", "[ t 1, p 3 ]"),
    ("current", "1.250000E-06", "abc-GPTDataset-train-", "  successfully saved checkpoint from iteration      20 to /ckpt [ t 2/2, p 4/4 ]",
     "[ t 2/2, p 4/4 ]"),
], indirect=["stack"])
def test_words_of_a_stack(standins: Path, rate: str, cache: str, saved: str, place: str) -> None:
    forms = module("megatron.core.forms")
    assert forms.LEARNING_RATE.format(1.25e-6) == rate
    assert forms.index_stem("abc", "GPTDataset", "train") == cache
    assert forms.place((1, 2), (3, 4)) == place
    assert forms.saved(20, "/ckpt", place) == saved


@pytest.mark.parametrize(("stack", "error", "message"), [
    ("recipe", AssertionError, "Rank 3: found NaN in local forward loss calculation. node: "),
    ("current", RuntimeError, "Unexpected result nan (message='found NaN in local forward loss calculation')"),
], indirect=["stack"])
def test_nan_is_refused_in_upstreams_words(standins: Path, error: type[Exception], message: str) -> None:
    forms = module("megatron.core.forms")
    with pytest.raises(error, match=re.escape(message)):
        forms.refuse_nan(3, 7, forms.NAN_IN_LOSS)


@pytest.mark.parametrize(("step", "expected"), [
    (8, 1.25e-7), (80, 1.25e-6), (440, 6.875e-7), (800, 1.25e-7), (900, 1.25e-7)])
def test_learning_rate_warms_up_and_falls_by_a_cosine(standins: Path, step: int, expected: float) -> None:
    rate = module("megatron.training.optimizer_param_scheduler").learning_rate
    assert rate(step, 0.0, 1.25e-6, 1.25e-7, 80, 800, "cosine") == pytest.approx(expected)


@pytest.mark.parametrize(("split", "matrix"), [
    ("100,0,0", [(0, 1.0), None, None]), ("90,10", [(0, 0.9), (0.9, 1.0), None]), ("1,1,2", [(0, .25), (.25, .5), (.5, 1.)])])
def test_split(standins: Path, split: str, matrix: list[Any]) -> None:
    assert module("megatron.core.datasets.blended_megatron_dataset_config").split_matrix(split) == matrix


def test_indexed_dataset(standins: Path, tmp_path: Path) -> None:
    lengths = numpy.array([3, 2], dtype=numpy.int32)
    prefix = tmp_path / "text"
    (tmp_path / "text.bin").write_bytes(numpy.arange(5, dtype=numpy.uint16).tobytes())
    (tmp_path / "text.idx").write_bytes(
        b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + bytes([8]) + (2).to_bytes(8, "little") + (3).to_bytes(8, "little")
        + lengths.tobytes() + numpy.array([0, 6], numpy.int64).tobytes() + numpy.array([0, 1, 2], numpy.int64).tobytes())
    data = module("megatron.core.datasets.indexed_dataset").IndexedDataset(str(prefix))
    assert len(data) == 2
    assert data.get(0, offset=1).tolist() == [1, 2]
    assert data.get(1, length=1).tolist() == [3]


# Faults are in the common part: one stack shows them all.

@pytest.fixture
def faults(standins: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """The faults that are asked for, seen by rank 1."""
    def asked(kind: str, rank: str = "1", at: str = "3") -> ModuleType:
        for name, value in (("FAULT", kind), ("RANK", rank), ("AT", at)):
            monkeypatch.setenv(f"STANDIN_{name}", value)
        return module("megatron.training.faults")
    yield asked


@recipe
@pytest.mark.parametrize(("ranks", "hit"), [
    ("1", True), ("0-3", True), ("0,1", True), ("all", True), ("1-1", True), ("0", False), ("2-3", False), ("10", False)])
def test_a_fault_is_for_its_ranks_and_its_iteration(faults: Callable[..., ModuleType], ranks: str, hit: bool) -> None:
    asked = faults("exception", ranks)
    asked.after_iteration(2)
    asked.after_iteration(4)
    if not hit:
        asked.after_iteration(3)
        return
    with pytest.raises(RuntimeError, match=r"after iteration 3 \(STANDIN_FAULT\)"):
        asked.after_iteration(3)


@recipe
def test_two_faults_each_with_its_rank_and_iteration(faults: Callable[..., ModuleType]) -> None:
    asked = faults("exit_zero exception", "1 0,1", "3 5")
    with pytest.raises(SystemExit) as stopped:
        asked.after_iteration(3)
    assert not stopped.value.code
    with pytest.raises(RuntimeError):
        asked.after_iteration(5)


@recipe
def test_without_a_fault_nothing_happens(standins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STANDIN_FAULT", raising=False)
    asked = module("megatron.training.faults")
    asked.at_import()
    asked.after_iteration(3)
    asked.before_save(3, "x")
    assert not asked.spoiled("nan_loss", 3)


@recipe
@pytest.mark.parametrize(("words", "message"), [
    (("explode", "1", "3"), "unknown fault explode; known: exception, npu_oom"),
    (("exception hang", "1", "3"), "STANDIN_FAULT has 2 words, STANDIN_RANK 1, STANDIN_AT 1"),
    (("exception", "", "3"), "each fault needs its rank"),
])
def test_a_fault_that_is_written_wrongly_is_refused(faults: Callable[..., ModuleType], words: tuple[str, str, str], message: str) -> None:
    # At once, when the training is imported, on every rank.
    with pytest.raises(ValueError, match=re.escape(message)):
        faults(*words)


@recipe
@pytest.mark.parametrize(("kind", "words"), [
    ("npu_oom", "NPU out of memory. Tried to allocate 386.00 MiB (NPU 5;"), ("noise", "NPU out of memory"), ("hccl", "HcclAllreduce, error code is 6")])
def test_faults_have_the_vendors_words(faults: Callable[..., ModuleType], kind: str, words: str, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    asked = faults(kind)
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(asked.atexit, "register", lambda function: None)
    with pytest.raises(RuntimeError, match=re.escape(words)):
        asked.after_iteration(3)
    assert ("EI0006" in capsys.readouterr().err) == (kind == "hccl")


@recipe
def test_faults_in_other_places(faults: Callable[..., ModuleType]) -> None:
    asked = faults("disk_full nan_grad skipped", "1 1 0", "4 6 2")
    asked.after_iteration(4)
    asked.before_save(3, "x")
    with pytest.raises(OSError, match="No space left on device: '/ckpt/shard'") as full:
        asked.before_save(4, "/ckpt/shard")
    assert full.value.errno == errno.ENOSPC
    assert [asked.spoiled("nan_grad", iteration) for iteration in (5, 6, 20)] == [False, True, True]
    assert not asked.spoiled("nan_loss", 6)
    assert not asked.spoiled("skipped", 6)
    with pytest.raises(ModuleNotFoundError, match="rehearsed_module_that_is_missing"):
        faults("import").at_import()


@pytest.mark.parametrize(("kind", "status", "error"), [
    ("kill", -signal.SIGKILL, ""), ("segv", -signal.SIGSEGV, ""), ("exit_zero", 0, ""), ("exception", 1, "RuntimeError: rehearsed fault"), ("noise", 1, "")])
def test_how_a_rank_ends(trees: dict[str, Path], kind: str, status: int, error: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(trees["recipe"] / "Megatron-LM/megatron/training"), "PYTHONDONTWRITEBYTECODE": "1",
                   "RANK": "1", "STANDIN_FAULT": kind, "STANDIN_RANK": "1", "STANDIN_AT": "3"}
    done = subprocess.run([sys.executable, "-c", "import faults; faults.after_iteration(3)"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert error in done.stderr
    if kind == "noise":
        # The cause stands before megabytes of what says nothing.
        assert len(done.stderr) > 2**20
        assert done.stderr.index("NPU out of memory") < done.stderr.index("main process disappeared")


# Bundles and patches

@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[Path, str]]]:
    return {stack: upstream.make_bundles(tmp_path_factory.mktemp(f"bundles-{stack}"), stack) for stack in STACKS}


def test_commits_do_not_depend_on_the_place_or_the_user(bundles: dict[str, dict[str, tuple[Path, str]]], stack: str, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody else")
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    again, first = upstream.make_bundles(tmp_path, stack), bundles[stack]
    assert {name: commit for name, (_, commit) in again.items()} == {name: commit for name, (_, commit) in first.items()}
    assert all(again[name][0].read_bytes() == first[name][0].read_bytes() for name in upstream.NAMES)


def test_every_stack_has_stand_ins_of_its_own(bundles: dict[str, dict[str, tuple[Path, str]]]) -> None:
    assert upstream.stacks() == sorted(STACKS)
    commits = [commit for stack in STACKS for _, commit in bundles[stack].values()]
    assert len(set(commits)) == len(commits)
    with pytest.raises(ValueError, match="no stand-in for the stack common: expected one of current, recipe"):
        upstream.assemble("Megatron-LM", "common", Path("nowhere"))


def test_a_file_has_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("common", "third"):
        (tmp_path / folder / "Megatron-LM").mkdir(parents=True)
        (tmp_path / folder / "Megatron-LM/README.md").write_text(folder)
    monkeypatch.setattr(upstream, "FOLDER", tmp_path)
    monkeypatch.setattr(upstream, "COMMON", tmp_path / "common")
    with pytest.raises(ValueError, match=r"README.md of Megatron-LM is both in common and in third: keep one of them"):
        upstream.assemble("Megatron-LM", "third", tmp_path / "tree")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(bundles: dict[str, dict[str, tuple[Path, str]]], stack: str, tmp_path: Path) -> Path:
    folder = tmp_path / "Megatron-LM"
    bundle, commit = bundles[stack]["Megatron-LM"]
    git(tmp_path, "clone", "--quiet", str(bundle), str(folder))
    assert git(folder, "rev-parse", "HEAD").strip() != commit
    git(folder, "checkout", "--quiet", commit)
    return folder


def ascendspeed(folder: Path, trees: dict[str, Path], option: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(trees["recipe"] / "AscendSpeed"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-m", "ascendspeed.run.run", option], cwd=folder, env=environment,
                          check=True, capture_output=True, text=True)


@recipe
def test_ascendspeed_applies_and_reverses_its_patches(tree: Path, trees: dict[str, Path]) -> None:
    assert not (tree / "megatron" / "__init__.py").exists()
    assert git(tree, "show", "-s", "--format=%an %at %ct") == "Rehearsal 1713951415 1713951415\n"
    first = ascendspeed(tree, trees, "-P")
    assert "rejects" not in first.stdout
    assert git(tree, "diff", "--name-only").split() == [
        "megatron/core/distributed/distributed_data_parallel.py", "pretrain_gpt.py"]
    assert "import torch\nimport ascendspeed.megatron_adaptor\n" in (tree / "pretrain_gpt.py").read_text()
    again = ascendspeed(tree, trees, "-P")
    assert again.returncode == 0
    assert "Here are some rejects needed to resolve" in again.stdout
    ascendspeed(tree, trees, "-R")
    assert git(tree, "diff", "--name-only") == ""


@recipe
def test_ascendspeed_rejects_after_a_line_behind_import_torch(tree: Path, trees: dict[str, Path]) -> None:
    program = tree / "pretrain_gpt.py"
    program.write_text(program.read_text().replace("import torch\n", "import torch\nimport json\n", 1))
    assert "rejects" in ascendspeed(tree, trees, "-P").stdout
    assert "megatron_adaptor" not in program.read_text()


@current
def test_one_line_is_to_be_added_after_import_torch(tree: Path, trees: dict[str, Path]) -> None:
    lines = (tree / "pretrain_gpt.py").read_text().splitlines()
    assert lines.count("import torch") == 1
    assert lines[lines.index("import torch") + 1] == "from functools import partial"
    assert not list((trees["current"] / "AscendSpeed").rglob("*.patch"))
    assert 'name="mindspeed"' in (trees["current"] / "AscendSpeed/setup.py").read_text()
