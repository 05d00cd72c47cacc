"""What npu-smi prints."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parent / "recorded" / "npu_smi"
CASES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_recorded(case: dict[str, Any]) -> None:
    assert _npu_smi.parse(case["output"]) == case["expected"]


def test_carriage_returns_and_indentation_do_not_matter() -> None:
    case = CASES["910b_busy_tight_slash"]
    output = "\r\n".join("  " + line for line in case["output"].splitlines())
    assert _npu_smi.parse(output) == case["expected"]


def test_a_chip_whose_second_line_is_missing_does_not_shift_the_others() -> None:
    lines = CASES["910b_busy_tight_slash"]["output"].splitlines()
    cut = [line for line in lines if "0000:C1:00.0" not in line]
    assert [chip["npu"] for chip in _npu_smi.parse("\n".join(cut))["chips"]] == [3, 12]


def test_usable() -> None:
    chips = _npu_smi.parse(CASES["910b_busy_tight_slash"]["output"])["chips"]
    assert [_npu_smi.usable(chip) for chip in chips] == [True, True, False]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([line for case in CASES.values() for line in case["output"].splitlines()]
                                + ["", "||", "|", "| x |", "| | | |", "| NPU |"]), max_size=30))
def test_any_mixture_of_lines_is_read_without_an_exception(lines: list[str]) -> None:
    found = _npu_smi.parse("\n".join(lines))
    assert all(chip["health"] for chip in found["chips"])
