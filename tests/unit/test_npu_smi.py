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


def lines_of(case: str) -> list[str]:
    return list(CASES[case]["output"].splitlines())


@pytest.mark.parametrize(("case", "old", "new", "words"), [
    ("910b4_idle", "Bus-Id ", "Address", ["headings that are not understood", "| Chip | Address | AICore(%)"]),
    ("910b4_idle", "Health", "State ", ["headings that are not understood", "| NPU Name | State | Power(W)"]),
    ("910b4_idle", "| NPU   Name ", "| Card  Name ", ["rows without headings that are understood", "| Card Name | Health |"]),
    ("910b4_idle", "Process id ", "Task number", ["headings that are not understood", "| NPU Chip | Task number | Process name |"]),
    ("910b4_idle", "| 2     910B4               | OK            |", "| 2     910B4               | OK            | 1 |",
     ["a row that does not fit its headings", "| 2 910B4 | OK | 1 |"]),
    ("910b4_idle", "| 2     910B4 ", "| two   910B4 ", ["a row that does not fit its headings", "| two 910B4 | OK |"]),
    ("910b4_idle", "0    / 0          2858 / 32768", "much, and     2858 of 32768  ", ["a row that does not fit its headings", "2858 of 32768"]),
    ("910b_busy_tight_slash", "| 41235         |", "| pid 41235     |", ["a row that does not fit its headings", "pid 41235"]),
])
def test_an_unknown_form_is_an_error_that_quotes_it(case: str, old: str, new: str, words: list[str]) -> None:
    output = CASES[case]["output"]
    assert old in output
    with pytest.raises(_npu_smi.UnknownForm) as error:
        _npu_smi.parse(output.replace(old, new))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("cut", [30, 1])
def test_a_line_that_is_cut_off_is_an_error(cut: int) -> None:
    output = "\n".join(lines_of("910b_busy_tight_slash")[:-3])
    assert output.endswith("| 41235         | python3.8                | 120                     |")
    with pytest.raises(_npu_smi.UnknownForm, match=r"a line is cut off: \| 0 0 \| 41235"):
        _npu_smi.parse(output[:-cut])


@pytest.mark.parametrize(("usage", "used", "total"), [
    ("0    / 0          NA", 0, 0), ("0    / 0          -", 0, 0), ("0    / 0          NA / NA", 0, 0), ("12/ 100           0    / 0", 12, 100),
    ("0    / 0          2858/32768", 2858, 32768), ("NA                2858 / 32768", 2858, 32768),
])
def test_memory_that_npu_smi_does_not_know(usage: str, used: int, total: int) -> None:
    output = CASES["910b4_idle"]["output"].replace("0    / 0          2858 / 32768", usage)
    chip = _npu_smi.parse(output)["chips"][0]
    assert (chip["memory_used_mib"], chip["memory_total_mib"]) == (used, total)


def test_a_blank_value_does_not_shift_the_memory() -> None:
    output = CASES["910b4_idle"]["output"].replace("| 0           0    / 0          2858 / 32768         |",
                                                   "|             1    / 7          2858 / 32768         |")
    chip = _npu_smi.parse(output)["chips"][0]
    assert (chip["memory_used_mib"], chip["memory_total_mib"]) == (2858, 32768)


def test_a_process_without_a_name_counts() -> None:
    output = CASES["910b2c_high_ids"]["output"].replace("| python  ", "|         ")
    assert [(process["pid"], process["name"]) for process in _npu_smi.parse(output)["processes"]] == [(78617, ""), (79095, "")]


def test_a_first_line_that_is_missing_does_not_shift_the_others() -> None:
    lines = [line for line in lines_of("950_five_process_columns") if "| OK " not in line]
    assert [chip["npu"] for chip in _npu_smi.parse("\n".join(lines))["chips"]] == [3]
    lines = [line for line in lines_of("910b_busy_tight_slash") if "| OK " not in line]
    assert [chip["npu"] for chip in _npu_smi.parse("\n".join(lines))["chips"]] == [3, 12]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([line for case in CASES.values() for line in case["output"].splitlines()]
                                + ["", "||", "|", "| x |", "| | | |", "| NPU |"]), max_size=30))
def test_any_mixture_of_lines_is_read_or_refused(lines: list[str]) -> None:
    try:
        found = _npu_smi.parse("\n".join(lines))
    except _npu_smi.UnknownForm:
        return
    assert all(chip["health"] for chip in found["chips"])
