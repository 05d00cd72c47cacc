"""The hooks that pretrain_gpt.py installs, against stand-ins for torch and its companions."""

from __future__ import annotations

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
