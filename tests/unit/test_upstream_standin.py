"""The stand-ins of Megatron-LM and AscendSpeed, as far as they go without torch."""
from __future__ import annotations

import argparse
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

MEGATRON = upstream.FOLDER / "Megatron-LM"
ASCENDSPEED = upstream.FOLDER / "AscendSpeed"
PLAN = ["--num-layers", "4", "--hidden-size", "64", "--num-attention-heads", "4", "--seq-length", "64",
        "--max-position-embeddings", "64", "--micro-batch-size", "1", "--global-batch-size", "8", "--train-iters", "20",
        "--lr", "1e-3", "--min-lr", "1e-4", "--sequence-parallel", "--tensor-model-parallel-size", "2",
        "--num-experts", "4", "--expert-model-parallel-size", "2", "--bf16"]


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both packages importable, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(MEGATRON))
    monkeypatch.syspath_prepend(str(ASCENDSPEED))
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("megatron", "ascendspeed")]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def parsed(monkeypatch: pytest.MonkeyPatch, *words: str, patched: bool = False) -> Any:
    parse_args = module("megatron.training.arguments").parse_args
    if patched:
        parse_args = module("ascendspeed.arguments").parse_args_decorator(parse_args)
    monkeypatch.setattr(sys, "argv", ["pretrain_gpt.py", *PLAN, *words])
    return parse_args()


# Options

def test_tables_are_of_the_pinned_commits() -> None:
    tables = {name: json.loads(path.read_text()) for name, path in record_arguments.TABLES.items()}
    assert tables["Megatron-LM"]["commit"] == "9de386d08770d7296263a590171ace4ae45348ad"
    assert tables["AscendSpeed"]["commit"] == "9264e3c00edb4c16e38f26d5d2f364cba203ad7f"
    assert [len(tables[name]["options"]) for name in upstream.NAMES] == [278, 28]
    assert all(table["origin"] == name for name, table in tables.items())


def test_options_take_types_choices_and_defaults_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    args = parsed(monkeypatch, "--noisy-gate-policy", "RSample", "--moe-model-type", "mixtral_moe",
                  "--no-gradient-accumulation-fusion", "--tokenizer-type", "PretrainedFromHF", patched=True)
    assert (args.num_layers, args.lr, args.bf16, args.fp16) == (4, 1e-3, True, False)
    assert (args.moe_model_type, args.noisy_gate_policy) == ("mixtral_moe", "RSample")
    assert args.gradient_accumulation_fusion is False
    assert (args.rank, args.world_size) == (1, 4)
    assert args.context_parallel_algo == "ulysses_cp_algo"


@pytest.mark.parametrize(("words", "message"), [
    (["--no-such-option"], "unrecognized arguments: --no-such-option"),
    (["--num-layer", "4"], "unrecognized arguments: --num-layer 4"),
    (["--moe-model-type", "deepspeed_moe"], "invalid choice: 'deepspeed_moe'"),
    (["--num-layers", "four"], "argument --num-layers: invalid int value: 'four'"),
    (["--lr-decay-style", "steps"], "invalid choice: 'steps'"),
])
def test_what_the_real_parser_refuses_is_refused(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(monkeypatch, *words, patched=True)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_without_the_adaptor_its_options_are_unknown(monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(monkeypatch, "--moe-model-type", "mixtral_moe")
    assert "unrecognized arguments: --moe-model-type mixtral_moe" in capsys.readouterr().err


def test_the_literal_option_is_the_recorded_one() -> None:
    # A role reads the choices in this line of the source, as it does in upstream's.
    assert "choices=['mixtral_moe', 'megatron_moe']" in (ASCENDSPEED / "ascendspeed" / "arguments.py").read_text()
    recorded = {entry["dest"]: entry for entry in json.loads(record_arguments.TABLES["AscendSpeed"].read_text())["options"]}
    assert recorded["moe_model_type"]["choices"] == ["mixtral_moe", "megatron_moe"]


def test_recording_an_option() -> None:
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group(title="some")
    group.add_argument("--count", "-c", type=int, default=3, choices=[1, 3], nargs="*")
    group.add_argument("--no-this", action="store_false", dest="this")
    assert record_arguments.options(parser) == [
        {"options": ["--count", "-c"], "dest": "count", "action": "store", "default": 3, "group": "some",
         "type": "int", "nargs": "*", "choices": [1, 3]},
        {"options": ["--no-this"], "dest": "this", "action": "store_false", "default": True, "group": "some"}]
    group.add_argument("--odd", type=Path)
    with pytest.raises(ValueError, match=r"--odd.*cannot record"):
        record_arguments.options(parser)


# Validation

@pytest.mark.parametrize(("words", "world", "message"), [
    (["--tensor-model-parallel-size", "3"], 4, "world size (4) is not divisible by tensor model parallel size (3)"),
    (["--expert-model-parallel-size", "3"], 4, "Number of experts should be a multiple"),
    (["--max-position-embeddings", "32"], 4, ""),
    (["--min-lr", "1"], 4, ""),
    (["--pipeline-model-parallel-size", "2", "--num-layers-per-virtual-pipeline-stage", "1"], 8, "greater than 2"),
])
def test_rules_of_a_plan(words: list[str], world: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    with pytest.raises(AssertionError) as refused:
        module("megatron.training.arguments").validate_args(parsed(monkeypatch, *words))
    assert message in str(refused.value)


def test_moe_with_tensor_parallelism_needs_sequence_parallelism(monkeypatch: pytest.MonkeyPatch) -> None:
    args = parsed(monkeypatch)
    args.sequence_parallel = False
    with pytest.raises(AssertionError, match="sequence parallelism must be used"):
        module("megatron.training.arguments").validate_args(args)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("num_attention_heads", 5, "num_attention_heads (5) must be a multiple"),
    ("num_layers", 5, "num_layers must be divisible"),
    ("seq_length", 63, "63 is not divisible by 2"),
    ("moe_router_topk", 3, "Only top-1 and top-2"),
])
def test_rules_of_a_model(name: str, value: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = module("megatron.training.arguments")
    args = parsed(monkeypatch, "--pipeline-model-parallel-size", "2", "--moe-model-type", "mixtral_moe", patched=True)
    arguments.validate_args(args)
    arguments.check_model_args(args)
    setattr(args, name, value)
    with pytest.raises((AssertionError, ValueError)) as refused:
        arguments.check_model_args(args)
    assert message in str(refused.value)


def test_too_few_ranks_lower_the_plan_silently(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    args = parsed(monkeypatch, "--pipeline-model-parallel-size", "4")
    module("megatron.training.arguments").validate_args(args)
    assert (args.tensor_model_parallel_size, args.pipeline_model_parallel_size, args.data_parallel_size) == (1, 1, 1)
    assert capsys.readouterr().out == ""


# Ranks, shards and the schedule

def test_ranks_run_tensor_fastest_and_pipeline_slowest() -> None:
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
    with pytest.raises(RuntimeError, match="data_parallel_size"):
        state.layout(8, tensor=2, pipeline=4, expert=2)


@pytest.mark.parametrize(("pipeline", "expert", "folder"), [
    (False, False, "mp_rank_01"), (True, False, "mp_rank_01_003"), (False, True, "mp_rank_01_002"),
    (True, True, "mp_rank_01_003_002"),
])
def test_names_of_shards(pipeline: bool, expert: bool, folder: str) -> None:
    name = module("megatron.training.checkpointing").get_checkpoint_name(
        "/ckpt", 20, pipeline_parallel=pipeline, tensor_rank=1, pipeline_rank=3, expert_parallel=expert, expert_rank=2)
    assert name == f"/ckpt/iter_0000020/{folder}/model_optim_rng.pt"


def test_shards_cover_everything_once() -> None:
    bounds = module("megatron.training.checkpointing").shard_bounds
    pieces = sorted(bounds(1003, tensor, pipeline, expert, (2, 4, 2))
                    for tensor in range(2) for pipeline in range(4) for expert in range(2))
    assert pieces[0][0] == 0
    assert pieces[-1][1] == 1003
    assert all(left[1] == right[0] for left, right in zip(pieces, pieces[1:]))


@pytest.mark.parametrize(("step", "expected"), [
    (8, 1.25e-7), (80, 1.25e-6), (440, 6.875e-7), (800, 1.25e-7), (900, 1.25e-7)])
def test_learning_rate_warms_up_and_falls_by_a_cosine(step: int, expected: float) -> None:
    rate = module("megatron.training.optimizer_param_scheduler").learning_rate
    assert rate(step, 0.0, 1.25e-6, 1.25e-7, 80, 800, "cosine") == pytest.approx(expected)


@pytest.mark.parametrize(("split", "matrix"), [
    ("100,0,0", [(0, 1.0), None, None]), ("90,10", [(0, 0.9), (0.9, 1.0), None]), ("1,1,2", [(0, .25), (.25, .5), (.5, 1.)])])
def test_split(split: str, matrix: list[Any]) -> None:
    assert module("megatron.core.datasets.blended_megatron_dataset_config").split_matrix(split) == matrix


def test_indexed_dataset(tmp_path: Path) -> None:
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


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """The faults that are asked for, seen by rank 1."""
    def asked(kind: str, rank: str = "1", at: str = "3") -> ModuleType:
        for name, value in (("FAULT", kind), ("RANK", rank), ("AT", at)):
            monkeypatch.setenv(f"STANDIN_{name}", value)
        return module("megatron.training.faults")
    yield asked


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


def test_two_faults_each_with_its_rank_and_iteration(faults: Callable[..., ModuleType]) -> None:
    asked = faults("exit_zero exception", "1 0,1", "3 5")
    with pytest.raises(SystemExit) as stopped:
        asked.after_iteration(3)
    assert not stopped.value.code
    with pytest.raises(RuntimeError):
        asked.after_iteration(5)


def test_without_a_fault_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STANDIN_FAULT", raising=False)
    asked = module("megatron.training.faults")
    asked.at_import()
    asked.after_iteration(3)
    asked.before_save(3, "x")
    assert not asked.spoiled("nan_loss", 3)


@pytest.mark.parametrize(("words", "message"), [
    (("explode", "1", "3"), "unknown fault explode; known: exception, npu_oom"),
    (("exception hang", "1", "3"), "STANDIN_FAULT has 2 words, STANDIN_RANK 1, STANDIN_AT 1"),
    (("exception", "", "3"), "each fault needs its rank"),
])
def test_a_fault_that_is_written_wrongly_is_refused(faults: Callable[..., ModuleType], words: tuple[str, str, str], message: str) -> None:
    # At once, when the training is imported, on every rank.
    with pytest.raises(ValueError, match=re.escape(message)):
        faults(*words)


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
def test_how_a_rank_ends(kind: str, status: int, error: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(MEGATRON / "megatron" / "training"), "PYTHONDONTWRITEBYTECODE": "1",
                   "STANDIN_FAULT": kind, "STANDIN_RANK": "1", "STANDIN_AT": "3"}
    done = subprocess.run([sys.executable, "-c", "import faults; faults.after_iteration(3)"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert error in done.stderr
    if kind == "noise":
        # The cause stands before megabytes of what says nothing.
        assert len(done.stderr) > 2**20
        assert done.stderr.index("NPU out of memory") < done.stderr.index("main process disappeared")


# Bundles and patches

@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    return upstream.make_bundles(tmp_path_factory.mktemp("bundles"))


def test_commits_do_not_depend_on_the_place_or_the_user(bundles: dict[str, tuple[Path, str]], tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody else")
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    again = upstream.make_bundles(tmp_path)
    assert {name: commit for name, (_, commit) in again.items()} == {name: commit for name, (_, commit) in bundles.items()}
    assert all(again[name][0].read_bytes() == bundles[name][0].read_bytes() for name in upstream.NAMES)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(bundles: dict[str, tuple[Path, str]], tmp_path: Path) -> Path:
    folder = tmp_path / "Megatron-LM"
    bundle, commit = bundles["Megatron-LM"]
    git(tmp_path, "clone", "--quiet", str(bundle), str(folder))
    assert git(folder, "rev-parse", "HEAD").strip() != commit
    git(folder, "checkout", "--quiet", commit)
    return folder


def ascendspeed(folder: Path, option: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ASCENDSPEED), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-m", "ascendspeed.run.run", option], cwd=folder, env=environment,
                          check=True, capture_output=True, text=True)


def test_ascendspeed_applies_and_reverses_its_patches(tree: Path) -> None:
    assert not (tree / "megatron" / "__init__.py").exists()
    assert git(tree, "show", "-s", "--format=%an %at %ct") == "Rehearsal 1713951415 1713951415\n"
    first = ascendspeed(tree, "-P")
    assert "rejects" not in first.stdout
    assert git(tree, "diff", "--name-only").split() == [
        "megatron/core/distributed/distributed_data_parallel.py", "pretrain_gpt.py"]
    assert "import torch\nimport ascendspeed.megatron_adaptor\n" in (tree / "pretrain_gpt.py").read_text()
    again = ascendspeed(tree, "-P")
    assert again.returncode == 0
    assert "Here are some rejects needed to resolve" in again.stdout
    ascendspeed(tree, "-R")
    assert git(tree, "diff", "--name-only") == ""


def test_ascendspeed_rejects_after_a_line_behind_import_torch(tree: Path) -> None:
    program = tree / "pretrain_gpt.py"
    program.write_text(program.read_text().replace("import torch\n", "import torch\nimport json\n", 1))
    assert "rejects" in ascendspeed(tree, "-P").stdout
    assert "megatron_adaptor" not in program.read_text()
