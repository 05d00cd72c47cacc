"""What npu-smi says beside its table."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi, _npu_smi_more
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread, plain
from hypothesis import given, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parent / "recorded"
CASES, TABLES = ({path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / folder).glob("*.yml"))}
                 for folder in ("npu_smi_more", "npu_smi"))


def query(case: dict[str, Any]) -> str:
    found = re.search(r"-t (\w+)", case["command"])
    return found.group(1) if found else "map"


def answer(case: dict[str, Any], text: str) -> Any:
    return _npu_smi_more.answer(query(case), case["rc"], text.splitlines())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_recorded(case: dict[str, Any]) -> None:
    assert plain(answer(case, case["output"])) == case["expected"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_cut_off_is_never_read_as_something_else(case: dict[str, Any]) -> None:
    """At the ends of all lines, and at some places within each; the next test takes any place."""
    text, whole = case["output"], answer(case, case["output"])
    ends = [place for place, sign in enumerate(text) if sign == "\n"]
    for place in {*(end + more for end in ends for more in (-3, -2, -1, 0, 1)), *range(0, len(text), 11)}:
        compare(case, answer(case, text[:max(place, 0)]), whole)


@settings(deadline=None)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 3000))
def test_what_is_cut_off_anywhere(name: str, place: int) -> None:
    case = CASES[name]
    compare(case, answer(case, case["output"][:place]), answer(case, case["output"]))


def compare(case: dict[str, Any], cut: Any, whole: Any) -> None:
    if isinstance(cut, Unread):
        return
    assert not isinstance(whole, Unread)
    if query(case) == "map":
        assert [one["device"] for one in cut] == [one["device"] for one in whole][:len(cut)]
    elif query(case) == "health":
        assert (cut["health"], cut["codes"]) == (whole["health"], whole["codes"])
    else:
        assert cut.items() <= whole.items() and {"hbm_double_bit_error_count", "hbm_double_bit_isolated_pages_count"} <= set(cut)


@settings(deadline=None)
@given(st.sampled_from(sorted(TABLES)), st.integers(0, 6000))
def test_a_table_that_is_cut_off_has_no_chip_that_is_not_there(name: str, place: int) -> None:
    text = TABLES[name]["output"]
    try:
        cut = _npu_smi.parse(text[:place])
    except _npu_smi.UnknownForm:
        return
    whole = _npu_smi.parse(text)
    assert cut["chips"] == whole["chips"][:len(cut["chips"])]
    assert cut["processes"] == whole["processes"][:len(cut["processes"])]


@pytest.mark.parametrize(("name", "names"), [
    ("map_910a", [f"NPU {number}" for number in range(8)]), ("map_a3", ["NPU 0 chip 0", "NPU 0 chip 1", "NPU 1"]), ("map_950", ["NPU 0"])])
def test_the_devices_of_torch(name: str, names: list[str]) -> None:
    assert _npu_smi_more.torch_devices(CASES[name]["output"].splitlines()) == names


def test_devices_of_torch_that_the_map_does_not_tell() -> None:
    heading = "NPU ID  Chip ID  Chip Logic ID  Chip Name"
    assert _npu_smi_more.torch_devices([heading, "2 0 0 x", "5 0 1 x"]) == ["NPU 2", "NPU 5"]
    for lines in ([], ["-8005"], [heading, "0 0 0 x", "5 0 2 x"], [heading, "0 0 0 x", "5 0 0 x"]):
        assert _npu_smi_more.torch_devices(lines) == []


def test_cards_of_several_chips() -> None:
    health = "|health|0|Health Status : {}\n{who}|health|0|Error Code : NA\n{who}|health|0|Error Information : NA"
    lines = [line for who, word in (("4 0", "OK"), ("4 1", "Critical"), ("5", "OK")) for line in (who + health.format(word, who=who)).splitlines()]
    found = _npu_smi_more.read([*lines, "x 1|health|0|Health : OK", "4 0|ecc|124|", "1 2 3|ecc|0|x", "nothing"])
    assert {who: answers["health"]["health"] for who, answers in found.items()} == {(4, 0): "OK", (4, 1): "Critical", (5, 0): "OK"}
    assert found[4, 0]["ecc"] == Unread("timeout", "")


@pytest.mark.parametrize(("case", "old", "new"), [
    ("health_ok_910a", ": OK", ": Fine"), ("health_ok_910a", ": NA\n", ": none\n"), ("health_ok_910a", "Error Code", "Fault Code"),
    ("health_ok_910a", "Error Information              : NA", ""),
    ("health_alarm_three_codes", "8C084E00", "8C084E"), ("map_a3", "Chip ID  ", "Chip Place  "), ("map_a3", "1 0 2 2 Ascend910", "1 0 2 - Ascend910"),
    ("map_a3", "1 0 2 2 Ascend910", "1 0 2 2"), ("map_910b3_25_5_1", "Chip Logic ID", "Slot ID"),
    ("ecc_950", "HBM Double Bit Error Count               : 0", "HBM Double Bit Error Count               : few"),
    ("ecc_950", "HBM Double Bit Isolated Pages Count", "HBM Double Bit Lost Pages Count"), ("ecc_950", "HBM ", "XYZ "),
])
def test_what_is_not_understood_is_quoted(case: str, old: str, new: str) -> None:
    assert old in CASES[case]["output"]
    text = CASES[case]["output"].replace(old, new)
    assert answer(CASES[case], text) == Unread("unknown", (" ".join(text.split())[:299] + "…") if len(" ".join(text.split())) > 300 else " ".join(text.split()))


def test_two_answers_in_one_are_not_one_chip() -> None:
    for case in ("health_ok_910a", "health_950", "ecc_910a"):
        assert answer(CASES[case], CASES[case]["output"] * 2).kind == "unknown"


def test_a_counter_without_a_value_is_left_out() -> None:
    text = CASES["ecc_950"]["output"].replace("HBM Double Bit Error Count               : 0", "HBM Double Bit Error Count               : NA")
    found = answer(CASES["ecc_950"], text)
    assert found == {name: 0 for name in CASES["ecc_950"]["expected"] if name != "hbm_double_bit_error_count"}


def test_the_driver_that_does_not_answer() -> None:
    said = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\ndcmi model initialized failed, because the device is used. ret is -8020"
    assert _npu_smi_more.answer("health", 255, said.splitlines()) == Unread("no_answer", " ".join(said.split()))
    assert _npu_smi_more.answer("ecc", 0, ["This device does not support querying ecc."]).kind == "unsupported"
    assert _npu_smi_more.answer("board", 0, ["NPU ID : 0"]).kind == "unknown"
