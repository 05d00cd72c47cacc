"""The small operation on every NPU: its processes, with stand-ins for the operation, and what is said of its result."""
from __future__ import annotations

import ast
import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Callable

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _npu_check

PROGRAM = Path(__file__).resolve().parents[2] / "roles/conda_env/files/npu_check.py"


@pytest.fixture
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("npu_check", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sleep(device: int, precision: str) -> None:
    if device == 1:
        os.write(1, b"on my way\n")
        time.sleep(600)


def die(device: int, precision: str) -> None:
    if device == 0:
        os.write(2, b"said by C\n")
        os.kill(os.getpid(), signal.SIGKILL)
    if device == 2:
        raise SystemExit(0)  # no reason to believe it


def fail(device: int, precision: str) -> None:
    raise RuntimeError(f"{precision} " + "x" * 30000 + " the end")


Operation = Callable[[int, str], None]


def run(program: ModuleType, operation: Operation, count: int, seconds: float) -> list[dict[str, str]]:
    program.multiply = operation  # type: ignore[attr-defined]
    failed: list[dict[str, str]] = program.check(count, "bf16", seconds)
    return failed


def test_one_that_hangs_is_told_and_ended_and_the_others_are_done(program: ModuleType) -> None:
    assert run(program, sleep, 3, 2) == [{"device": 1, "what": "no answer within 2 s (state S)", "text": "on my way"}]


def test_it_ends_when_all_have_answered(program: ModuleType) -> None:
    assert run(program, lambda device, precision: None, 4, 1e6) == []


def test_a_crash_and_a_bare_exit_are_failures(program: ModuleType) -> None:
    first, second = run(program, die, 3, 1e6)
    assert (first["device"], first["what"], first["text"]) == (0, "the process died of signal 9 (SIGKILL)", "said by C")
    assert (second["device"], second["what"]) == (2, "it failed")
    assert second["text"].endswith("SystemExit: 0")


def test_the_end_of_what_was_said_is_kept(program: ModuleType) -> None:
    (found,) = run(program, fail, 1, 1e6)
    assert found["text"].endswith("x the end")
    assert len(found["text"]) <= program.TEXT_BYTES


def test_the_program_parses_as_python_38() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))


def result(*failed: tuple[int, str, str]) -> str:
    return json.dumps({"failed": [{"device": device, "what": what, "text": text} for device, what, text in failed]})


KERNELS = ("a warning\nTraceback (most recent call last):\n  File x\n    x @ x\n"
           "RuntimeError: NPU function error: call aclnnMatmul failed, error code is 561103\n"
           "[ERROR] 2025-12-10 (PID:1, Device:0, RankID:-1) ERR00100 PTA call acl api failed\n\n        TraceBack (most recent call last):\n        op x")


def test_good_npus() -> None:
    assert _npu_check.npu_findings("a library's greeting\n" + result(), 0) == []


def test_each_kind_is_said_once_with_its_npus_words_and_cause() -> None:
    kernels, wrong, hang = _npu_check.npu_findings(
        result((0, "it failed", KERNELS), (3, "it failed", "ValueError: wrong product: 1 of 4096 values differ"), (5, "it failed", KERNELS),
               (7, "no answer within 300 s (state D)", "")), 0)
    assert kernels.startswith("NPU 0, 5: it failed. Its last words:\n    a warning\n    RuntimeError: NPU function error: ")
    assert "File x" not in kernels
    assert "            TraceBack (most recent call last):\n            op x\n  Likely cause: the kernels (compiled operators) of CANN" in kernels
    assert wrong.startswith("NPU 3: it failed.") and "wrong product: 1 of 4096" in wrong and "computes wrongly" in wrong
    assert hang.startswith("NPU 7: no answer within 300 s (state D). It said nothing.\n  Likely cause: it hangs")


def test_long_words_are_cut() -> None:
    (found,) = _npu_check.npu_findings(result((0, "it failed", "\n".join(f"line {number}." for number in range(100)))), 0)
    assert "line 99." in found and "line 88." in found and "line 87." not in found


@pytest.mark.parametrize(("output", "rc", "errors", "words"), [
    ("", 124, "", "it hangs, and was ended"),
    ("", 137, "", "it hangs, and was ended"),
    ("", 1, "/opt/x/env.sh: cannot read", "it ended with status 1). Its last words:\n    /opt/x/env.sh: cannot read"),
    ("Killed", 9, "", "it ended with status 9). Its last words:\n    Killed"),
    ("[1]", 0, "", "it ended with status 0"),
    ('{"other": 1}', 0, "", "printed no result"),
])
def test_a_program_without_a_result_is_no_success(output: str, rc: int, errors: str, words: str) -> None:
    (found,) = _npu_check.npu_findings(output, rc, errors)
    assert found.startswith("No NPU answered: ") and words in found
