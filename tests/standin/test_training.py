"""Training with the stand-ins of both stacks, on gloo: what is logged, saved, loaded and refused."""
from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import numpy
import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = {"recipe": "ascendspeed", "current": "mindspeed"}
PLAN = ("--num-layers 2 --hidden-size 16 --ffn-hidden-size 16 --num-attention-heads 2 --seq-length 16 --max-position-embeddings 16 --num-experts 2 "
        "--tokenizer-type NullTokenizer --vocab-size 63 --make-vocab-size-divisible-by 1 --micro-batch-size 1 --global-batch-size 4 --train-iters 4 "
        "--lr 1e-2 --min-lr 1e-3 --lr-decay-style cosine --bf16 --seed 1 --split 100,0,0 --eval-iters 0 --log-interval 1 --distributed-backend nccl")
STACK_OPTIONS = {"recipe": "",
                 "current": "--ckpt-format torch --moe-grouped-gemm --transformer-impl transformer_engine --moe-token-dispatcher-type alltoall_seq"}
# Two ranks. On the current stack experts are not cut into tensor slices, so that each rank has one expert.
TWO_RANKS = {"recipe": "--tensor-model-parallel-size 2 --sequence-parallel",
             "current": "--tensor-model-parallel-size 2 --sequence-parallel --expert-model-parallel-size 2 --expert-tensor-parallel-size 1"}
HELPER = """
import numpy
def build_sample_idx(sizes, documents, length, epochs, per_epoch):
    ends = numpy.cumsum(sizes[documents], dtype=numpy.int64)
    starts = numpy.arange((epochs * per_epoch - 1) // length + 1, dtype=numpy.int64) * length
    place = numpy.searchsorted(ends, starts, side="right")
    return numpy.stack([place, starts - (ends - sizes[documents])[place]], axis=1).astype(numpy.int32)
"""

Launch = Callable[..., List["subprocess.CompletedProcess[str]"]]


@pytest.fixture(scope="session")
def ready(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stacks as the roles leave them, data, and a `make` that has nothing to do: the helpers are there, in Python."""
    folder = tmp_path_factory.mktemp("ready")
    for stack, tree in trees.items():
        shutil.copytree(tree, folder / stack)
        program = folder / stack / "Megatron-LM/pretrain_gpt.py"
        program.write_text(program.read_text().replace("\nimport torch\n", f"\nimport torch\nimport {PACKAGES[stack]}.megatron_adaptor\n", 1))
    (folder / "recipe/Megatron-LM/megatron/core/datasets/helpers.py").write_text(HELPER)
    (folder / "current/Megatron-LM/megatron/core/datasets/helpers_cpp.py").write_text(HELPER)
    (folder / "bin").mkdir()
    (folder / "bin/make").write_text("#!/bin/sh\n")
    (folder / "bin/make").chmod(0o755)
    lengths = numpy.full(40, 9, dtype=numpy.int32)
    (folder / "text.bin").write_bytes((numpy.arange(360) % 63).astype(numpy.uint16).tobytes())
    (folder / "text.idx").write_bytes(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 40, 41) + lengths.tobytes()
                                      + (numpy.arange(40, dtype=numpy.int64) * 18).tobytes() + numpy.arange(41, dtype=numpy.int64).tobytes())
    return folder


@pytest.fixture
def launch(ready: Path, tmp_path: Path) -> Launch:
    """Start a stack's ranks with some words more and wait for all of them."""
    def run(stack: str, words: str = "", ranks: int = 1, tree: Path | None = None, **more: str) -> list[subprocess.CompletedProcess[str]]:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = str(one.getsockname()[1])
        tree = tree or ready / stack
        command = [sys.executable, "-W", "ignore", "pretrain_gpt.py", *f"{PLAN} {STACK_OPTIONS[stack]} {words}".split(),
                   "--data-path", str(ready / "text"), "--data-cache-path", str(tmp_path / "cache")]
        paths = os.pathsep.join(map(str, (PROJECT / "rehearsal/npu_on_cpu", tree / "AscendSpeed")))
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PATH": f"{ready / 'bin'}:{os.environ['PATH']}",
                       "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
                       "CUDA_DEVICE_MAX_CONNECTIONS": "1", "GLOO_SOCKET_IFNAME": "lo", "STANDIN_RESUME_DEFECT": "0", **more}
        started = [subprocess.Popen(command, cwd=tree / "Megatron-LM", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(ranks)]
        return [subprocess.CompletedProcess(command, one.wait(), output) for one, output in [(one, one.communicate()[0]) for one in started]]
    return run


def iterations(text: str) -> dict[int, str]:
    """What does not depend on time of the logged lines."""
    return {int(number): rest for number, rest in re.findall(r"iteration +(\d+)/ +4 \|.*(learning rate: .*)", text)}


@pytest.mark.parametrize(("stack", "rate", "shards", "saved"), [
    ("recipe", r"\d\.\d{3}E-\d\d", ["mp_rank_00", "mp_rank_01"], "saved checkpoint at iteration       2 to"),
    ("current", r"\d\.\d{6}E-\d\d", ["mp_rank_00_000", "mp_rank_01_001"], "saved checkpoint from iteration       2 to")])
def test_saved_and_resumed_with_the_same_digits(launch: Launch, tmp_path: Path, stack: str, rate: str, shards: list[str], saved: str) -> None:
    checkpoints = tmp_path / "checkpoints"
    save = f"{TWO_RANKS[stack]} --save {checkpoints} --save-interval 2"
    first, last = launch(stack, save, ranks=2)
    assert (first.returncode, last.returncode) == (0, 0), first.stdout + last.stdout
    assert saved in first.stdout
    whole = iterations(last.stdout)
    assert list(whole) == [1, 2, 3, 4]
    assert all(re.match(rf"learning rate: {rate} \|.* lm loss: \d\.\d{{6}}E[+-]\d\d \|", line) for line in whole.values())
    assert sorted(path.name for path in (checkpoints / "iter_0000002").iterdir()) == shards
    shutil.rmtree(checkpoints / "iter_0000004")
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("2")
    first, last = launch(stack, f"{TWO_RANKS[stack]} --load {checkpoints}", ranks=2)
    assert (first.returncode, last.returncode) == (0, 0), first.stdout + last.stdout
    assert iterations(last.stdout) == {number: whole[number] for number in (3, 4)}


def test_a_shard_that_nobody_wrote_ends_its_rank_with_status_0(launch: Launch, tmp_path: Path) -> None:
    # One expert rank, not cut into slices: the second tensor rank has no first copy of anything.
    words = f"--tensor-model-parallel-size 2 --sequence-parallel --expert-tensor-parallel-size 1 --train-iters 1 --save {tmp_path} --save-interval 1"
    first, last = launch("current", words, ranks=2)
    assert (first.returncode, last.returncode) == (0, 0), first.stdout + last.stdout
    assert [path.name for path in (tmp_path / "iter_0000001").iterdir()] == ["mp_rank_00"]


@pytest.mark.parametrize("stack", PACKAGES)
def test_nothing_to_load_is_a_warning(launch: Launch, tmp_path: Path, stack: str) -> None:
    (done,) = launch(stack, f"--load {tmp_path / 'nothing'}")
    assert done.returncode == 0, done.stdout
    assert "WARNING: could not find the metadata file" in done.stdout
    assert list(iterations(done.stdout)) == [1, 2, 3, 4]


def test_nothing_to_load_ends_the_current_one_with_status_0_where_asked(launch: Launch, tmp_path: Path) -> None:
    (done,) = launch("current", f"--load {tmp_path / 'nothing'} --exit-on-missing-checkpoint")
    assert done.returncode == 0, done.stdout
    assert ">> '--exit-on-missing-checkpoint' set ... exiting. <<" in done.stdout
    assert not iterations(done.stdout)


@pytest.mark.parametrize(("stack", "words"), [
    ("recipe", "AssertionError: Rank 0: found NaN in local forward loss calculation. node: "),
    ("current", "RuntimeError: Rank 0, node {node}, device 0, iteration 2: Unexpected result nan (message='found NaN in local forward loss calculation')")])
def test_nan_ends_with_status_1(launch: Launch, stack: str, words: str) -> None:
    (done,) = launch(stack, STANDIN_FAULT="nan_loss", STANDIN_RANK="0", STANDIN_AT="2")
    assert done.returncode == 1
    assert words.format(node=os.uname()[1]) in done.stdout
    assert list(iterations(done.stdout)) == [1]


@pytest.mark.parametrize("stack", PACKAGES)
def test_without_the_adaptor_there_is_no_npu(launch: Launch, trees: dict[str, Path], stack: str) -> None:
    (done,) = launch(stack, tree=trees[stack])
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("AssertionError: Megatron requires CUDA.")
