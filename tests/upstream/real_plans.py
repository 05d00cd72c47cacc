"""Asks the real code of a stack what it says of plans, without a process group.

What is common to the stacks: ``real_<stack>.py`` beside it is run in a Python that has torch, with the stand-ins and a checkout of each project,
left as the roles do, on PYTHONPATH. Without a word, it answers lines of questions, ``{"words": [command line], "world_size": n, "folders": bool}``,
by lines ``{"accepted": bool, "stage": …, "message": …, "iterations": n, "folders": [[checkpoint file, whether the rank writes it, whether it
writes the optimizer's] of every rank]}``. A question may have the entries of the ``"vocabulary"``; with ``"parameters": true`` the answer has
``"parameters"`` besides: of every rank [its pipeline rank, what the real code prints as its number of parameters (None where it prints
nothing), what its model has], and ``"report"``: the bytes that upstream's report of theoretical memory makes of weights and optimizer. With the
word ``options`` it lists the real parser's.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import re
import sys
import traceback
from typing import Any, Callable, Iterable, Iterator

import torch
from torch.overrides import TorchFunctionMode

from rehearsal.option_table import by_kind

VOCABULARY = 320
FOLDERS_OF_ITERATION = 20


class RefusedError(Exception):
    """The real code goes on, with another plan than was asked."""


class Group:
    """What stands for a process group."""

    def __init__(self, ranks: Any) -> None:
        self.ranks = list(ranks)

    def size(self) -> int:
        return len(self.ranks)


class World:
    """torch.distributed as one rank sees it, in a world that is not there; a group is its list of ranks."""

    def __init__(self) -> None:
        self.rank, self.size, self.vocabulary = 0, 1, VOCABULARY
        pretended: dict[str, Callable[..., Any]] = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "new_group": lambda ranks=None, **_: Group(range(self.size) if ranks is None else ranks),
            "get_world_size": lambda group=None: len(group.ranks) if group else self.size,
            "get_rank": lambda group=None: group.ranks.index(self.rank) if group else self.rank,
            "get_process_group_ranks": lambda group=None: list(group.ranks) if group else list(range(self.size)),
            "barrier": lambda *_, **__: None,
            "all_reduce": lambda *_, **__: None,
        }
        for name, function in pretended.items():
            setattr(torch.distributed, name, function)


# Of the words of a command line: do what pretrain() does before the first iteration, yield the name of each step before it is done.
Start = Callable[[list[str], World], Iterator[str]]
# Of a world that has been started: [checkpoint file, whether it is written, whether the distributed optimizer's is] of every rank.
Folders = Callable[[World], list[list[Any]]]
# Sets up the groups of a world, as one of its ranks.
Join = Callable[[World, int], None]
class WithoutMemory(TorchFunctionMode):
    """What is made by torch.empty, as all large weights are, is made on torch's meta device, whichever was asked for: the full size needs no memory."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **{**(kwargs or {}), **({"device": "meta"} if function.__name__ == "empty" else {})})


PRINTED = re.compile(r"number of parameters on \(tensor, pipeline\) model parallel rank \((\d+), (\d+)\): (\d+)")


def parameters(world: World, join: Join) -> list[list[Any]]:
    """Build the model of every rank by the real code: what it prints, and what it has."""
    import pretrain_gpt
    from megatron.core import mpu
    from megatron.core.enums import ModelType
    from megatron.training import training

    found = []
    for rank in range(world.size):
        join(world, rank)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), WithoutMemory():
            chunks = training.get_model(pretrain_gpt.model_provider, ModelType.encoder_or_decoder, wrap_with_ddp=False)
        stage, printed = mpu.get_pipeline_model_parallel_rank(), PRINTED.findall(said.getvalue())
        assert [(int(tensor), int(pipeline)) for tensor, pipeline, _ in printed] in ([], [(mpu.get_tensor_model_parallel_rank(), stage)])
        # Where the output layer shares the weights of the embedding on the same stage they are one and the same parameter.
        found.append([stage, int(printed[0][2]) if printed else None, sum(weight.nelement() for chunk in chunks for weight in chunk.parameters())])
    return found


def report() -> float:
    """Bytes of weights and optimizer on the most loaded shard, by upstream's report."""
    from megatron.training import global_vars, theoretical_memory_usage

    return float(theoretical_memory_usage.compute_weight_and_optimizer_memory(global_vars.get_args()))


def answer(question: dict[str, Any], world: World, start: Start, folders: Folders, join: Join, iterations: Callable[[], int]) -> dict[str, Any]:
    """Whether the real code starts with these words, or where and why not."""
    world.size, world.vocabulary = question["world_size"], question.get("vocabulary", VOCABULARY)
    os.environ.update(RANK="0", WORLD_SIZE=str(world.size))
    stage, said = "", io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            for name in start(question["words"], world):
                stage = name
                if question.get("parameters") and name == "model and optimizer":
                    break  # without their memory, below
            return {"accepted": True, "iterations": iterations(), "folders": folders(world) if question.get("folders") else [],
                    **({"parameters": parameters(world, join), "report": report()} if question.get("parameters") else {})}
    except (Exception, SystemExit) as error:
        return refusal(stage, error, said.getvalue())


def compare(asked: argparse.Namespace, args: argparse.Namespace) -> None:
    """Raise RefusedError where validate_args has silently made other parallel sizes."""
    for name in ("tensor_model_parallel_size", "pipeline_model_parallel_size"):
        if getattr(asked, name) != getattr(args, name):
            raise RefusedError(f"{name} was made {getattr(args, name)}, asked {getattr(asked, name)}")


def refusal(stage: str, error: BaseException, said: str = "") -> dict[str, Any]:
    """The answer that an exception is."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"accepted": False, "stage": stage, "message": f"{type(error).__name__}: {error} {said[-200:]} ({frame.filename}:{frame.lineno})"}


def options_of(parse_args: Callable[[], Any]) -> dict[str, Any]:
    """The real parser's options by the kind of their values."""
    found: list[argparse.Action] = []

    def look(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> argparse.Namespace:
        found[:] = parser._actions
        return argparse.Namespace(yaml_cfg=None)

    argparse.ArgumentParser.parse_args = look  # type: ignore[assignment, method-assign]
    parse_args()
    return by_kind(found)


def main(parse_args: Callable[[], Any], answers: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]]) -> None:
    """Answer until there are no more questions."""
    logging.disable()
    if sys.argv[1:] == ["options"]:
        print(json.dumps(options_of(parse_args)))
        return
    # Megatron calls exit(), which closes sys.stdin.
    questions, out = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for found in answers([json.loads(line) for line in questions]):
        print(json.dumps(found), file=out, flush=True)
