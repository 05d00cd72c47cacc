"""The hooks that pretrain_gpt.py installs, against stand-ins for torch and its companions."""

from __future__ import annotations

import functools
import os
import random
import sys
import types
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[2] / "roles" / "ascendspeed" / "files"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the stand-ins for torch, numpy and torch_npu were asked to do."""
    seen: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        return lambda value: seen.append((name, value))

    def module(name: str, **members: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    module("torch", manual_seed=note("torch"), use_deterministic_algorithms=note("deterministic"))
    module("numpy", random=types.SimpleNamespace(seed=note("numpy")))
    module("torch_npu", npu=types.SimpleNamespace(manual_seed_all=note("npu all"), manual_seed=note("npu")))
    for name in [one for one in sys.modules if one.split(".")[0] == "ascend_cluster_hooks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    return seen


def run(*names: str) -> None:
    import ascend_cluster_hooks  # type: ignore[import-not-found,unused-ignore]

    ascend_cluster_hooks.install(*names)


def test_without_ptdbg_ascend_the_same_is_done(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain_gpt.py", "--seed", "7", "--bf16"])
    monkeypatch.setenv("RANK", "0")
    run("deterministic")
    assert calls == [("numpy", 7), ("torch", 7), ("deterministic", True), ("npu all", 7), ("npu", 7)]
    assert os.environ["PYTHONHASHSEED"] == "7"
    drawn = random.random()
    random.seed(7)
    assert drawn == random.random()
    out = capsys.readouterr().out
    assert out.startswith("> hook deterministic: deterministic computation is on") and out.count("\n") == 1
    assert "seed 7" in out and "ptdbg_ascend is not installed" in out


def test_ptdbg_ascend_is_used_where_it_is(
    calls: list[tuple[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ptdbg_ascend.py").write_text("asked = []\ndef seed_all(seed=1234, mode=False):\n    asked.append((seed, mode))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["pretrain_gpt.py", "--seed=42"])
    monkeypatch.setenv("RANK", "3")
    run("deterministic")
    assert sys.modules.pop("ptdbg_ascend").asked == [(42, True)]
    assert calls == []
    assert capsys.readouterr().out == "", "only global rank 0 logs"


def test_a_broken_ptdbg_ascend_is_not_passed_over(
    calls: list[tuple[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ptdbg_ascend.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match="no_such_package_at_all"):
        run("deterministic")


@pytest.mark.parametrize(
    ("words", "seed"),
    [([], 1234), (["--seed", "5"], 5), (["--seed=6", "--lr", "1"], 6), (["--seed", "1", "--seed", "2"], 2), (["--seed"], 1234)],
)
def test_seed_of_the_command_line(calls: list[tuple[str, Any]], words: list[str], seed: int) -> None:
    from ascend_cluster_hooks import deterministic  # type: ignore[import-not-found,unused-ignore]

    assert deterministic.seed_of(words) == seed


# Resuming, and signals

MEGATRON = ("megatron", "megatron.core", "megatron.core.optimizer", "megatron.training")


@pytest.fixture
def megatron(calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make packages of Megatron-LM with the modules and members that a test gives."""

    def make(**modules: dict[str, Any]) -> Any:
        for name in [one for one in sys.modules if one.split(".")[0] == "megatron"]:
            monkeypatch.delitem(sys.modules, name)
        for name in MEGATRON:
            package = types.ModuleType(name)
            package.__path__ = []
            monkeypatch.setitem(sys.modules, name, package)
        for short, members in modules.items():
            name = ("megatron.core.optimizer." if short == "optimizer" else "megatron.training.") + short
            made = types.ModuleType(name)
            vars(made).update(members)
            monkeypatch.setitem(sys.modules, name, made)
        return sys.modules

    return make


class Inner:
    """An optimizer whose groups are new ones after loading, as torch's are."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": 1.0}]

    def load(self) -> None:
        self.param_groups = [{"lr": 0.5}]


def chain() -> Any:
    class ChainedOptimizer:
        param_groups: Any = None

        def __init__(self, chained_optimizers: list[Inner]) -> None:
            self.chained_optimizers = chained_optimizers
            self.param_groups = []
            for optimizer in chained_optimizers:
                self.param_groups += optimizer.param_groups

    return ChainedOptimizer


def test_the_scheduler_reaches_the_groups_after_loading(megatron: Any, capsys: pytest.CaptureFixture[str]) -> None:
    defective, repaired = chain(), chain()
    megatron(optimizer={"ChainedOptimizer": repaired})
    run("resume")
    for kind, rate in ((defective, 0.5), (repaired, 0.25)):
        inner = [Inner(), Inner()]
        both = kind(inner)
        for one in inner:
            one.load()
        for group in both.param_groups:
            group["lr"] = 0.25
        assert [group["lr"] for one in inner for group in one.param_groups] == [rate, rate]
    assert "the learning rate's schedule survive loading" in capsys.readouterr().out


@pytest.mark.parametrize(("distributed", "widened"), [(False, ["TopKGate"]), (True, [])])
def test_routers_are_float32_before_the_checkpoint_is_loaded(megatron: Any, distributed: bool, widened: list[str]) -> None:
    seen: list[str] = []

    class Module:
        def __init__(self, *inside: Any) -> None:
            self.inside = inside

        def modules(self) -> list[Any]:
            return [self, *self.inside]

        def float(self) -> None:
            seen.append(type(self).__name__)

    class TopKGate(Module):
        pass

    def load_checkpoint(model: Any, optimizer: str, strict: bool) -> Any:
        return list(seen), optimizer, strict

    modules = megatron(training={"load_checkpoint": load_checkpoint},
                       global_vars={"get_args": lambda: types.SimpleNamespace(use_distributed_optimizer=distributed)})
    run("resume")
    loaded = modules["megatron.training.training"].load_checkpoint([Module(TopKGate(), Module())], "adam", strict=True)
    assert loaded == (widened, "adam", True)


def test_hooks_do_no_harm_at_a_commit_without_what_they_repair(megatron: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class ChainedOptimizer:
        @property
        def param_groups(self) -> list[Any]:
            return ["upstream's own"]

    megatron(optimizer={"ChainedOptimizer": ChainedOptimizer}, dist_signal_handler={})
    run("resume", "signals")
    assert ChainedOptimizer().param_groups == ["upstream's own"]
    megatron(optimizer={})
    run("resume", "signals")
    assert capsys.readouterr().out.count("nothing here needs it") == 4


def test_a_broken_megatron_is_not_passed_over(megatron: Any, tmp_path: Path) -> None:
    modules = megatron()
    (tmp_path / "optimizer.py").write_text("import no_such_package_at_all\n")
    modules["megatron.core.optimizer"].__path__ = [str(tmp_path)]
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        run("resume")


def test_the_signal_handler_names_a_device_for_any_backend(megatron: Any) -> None:
    modules = megatron(dist_signal_handler={"get_device": None})
    modules["torch"].device = lambda name: name
    run("signals")
    get_device = modules["megatron.training.dist_signal_handler"].get_device
    assert (get_device(), get_device(3)) == ("cuda", "cuda:3")


def test_a_signal_handler_that_knows_hccl_is_left_alone(megatron: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def get_device(local_rank: Any = None) -> str:  # of NVIDIA
        return {"nccl": "cuda", "gloo": "cpu"}["nccl"]

    @functools.wraps(get_device)
    def wrapped(*args: Any) -> str:  # by MindSpeed
        return "cuda" if backend() == "hccl" else get_device(*args)

    def either(local_rank: Any = None) -> str:
        return "cuda" if backend() in ("nccl", "hccl") else "cpu"

    def backend() -> str:
        return "nccl"

    for theirs, left in ((wrapped, True), (either, True), (get_device, False)):
        modules = megatron(dist_signal_handler={"get_device": theirs})
        run("signals")
        assert (modules["megatron.training.dist_signal_handler"].get_device is theirs) is left
        assert ("nothing here needs it" in capsys.readouterr().out) is left
