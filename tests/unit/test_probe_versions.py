"""Which versions go together."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _findings, _probe_versions

from tests import stacks
from tests.unit.test_probe import SETTINGS, judge

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Any] = SETTINGS["version_tables"]


def verdict(**change: str) -> _probe_versions.Verdict:
    return _probe_versions.pairs({"driver": "24.1.rc1", "cann": "8.0.RC1", "torch_npu": "2.1.0.post3", "python": "3.8", **change}, TABLES)


@pytest.mark.parametrize("change", [
    {}, {"driver": ""}, {"cann": ""}, {"torch_npu": ""}, {"python": ""}, {"cann": "8.0.rc1"}, {"torch_npu": "2.1.0.post3+git1f2e3d4"}, {"python": "3.9"},
    {"driver": "25.2.0"}, {"driver": "25.2.rc1.2"}, {"driver": "24.1.RC1"}, {"driver": "24.1.rc1.1"}, {"python": "3.8.18"},
])
def test_what_goes_together_or_is_not_known_to_anybody(change: dict[str, str]) -> None:
    assert verdict(**change) == ([], [])


@pytest.mark.parametrize(("change", "wrong"), [
    ({"cann": "8.0.RC3"}, ("torch_npu 2.1.0.post3 with CANN 8.0.RC3", "CANN 8.0.RC1 for that torch_npu")),
    ({"python": "3.11"}, ("torch_npu 2.1.0.post3 with Python 3.11", "Python 3.8 or 3.9 for that torch_npu")),
    ({"python": "3.80"}, ("torch_npu 2.1.0.post3 with Python 3.80", "Python 3.8 or 3.9 for that torch_npu")),
    ({"driver": "22.0.4"}, ("driver 22.0.4 with CANN 8.0.RC1", "a driver 24.1.RC1 or 25.2 for that CANN")),
])
def test_what_does_not(change: dict[str, str], wrong: tuple[str, str]) -> None:
    assert verdict(**change).wrong == [wrong]


@pytest.mark.parametrize(("change", "unknown"), [
    ({"driver": "24.1.rc2"}, ["driver 24.1.rc2 with CANN 8.0.RC1"]), ({"driver": "25.20.0"}, ["driver 25.20.0 with CANN 8.0.RC1"]),
    ({"torch_npu": "2.1.0.post4"}, ["torch_npu 2.1.0.post4 with CANN 8.0.RC1", "torch_npu 2.1.0.post4 with Python 3.8"]),
])
def test_what_no_table_tells_is_said_and_no_finding(change: dict[str, str], unknown: list[str]) -> None:
    assert verdict(**change) == ([], unknown)


def test_the_summary_names_what_was_not_checked() -> None:
    found = judge(driver_info="Version=25.5.1")
    assert found["findings"] == [] and found["facts"]["unknown"] == [
        "whether driver 25.5.1 with CANN 8.0.RC1 goes together (no table of the stack tells)"]
    assert _findings.report({"a": found, "b": judge("b", driver_info="Version=25.5.1")}, [], SETTINGS)["summary"].endswith(
        "; not looked at: whether driver 25.5.1 with CANN 8.0.RC1 goes together (no table of the stack tells)")


# As public files of versions say, and a driver of 24.1.rc2 beside firmware 7.3.0, with which memory is not shared between processes.
@pytest.mark.parametrize(("ranges", "firmware", "fits"), [
    ("[7.0.0,7.1.99]", "7.1.0.11.220", True), ("[7.0.0,7.5.99]", "7.5.0.1.129", True), ("[6.4.0,6.4.99],[7.0.0,7.7.99]", "7.7.0.1.231", True),
    ("[7.0.0,8.9.9]", "8.9.9.1", True), ("[7.0.0,7.2.99]", "7.3.0.1.231", False), ("[6.4.0,6.4.99],[7.0.0,7.7.99]", "6.5.0.1", False),
    ("[7.0.0,7.2.99]", "6.9.0", False), ("", "7.3.0.1.231", True), ("[a,b]", "7.3.0.1.231", True), ("[7.0.0,7.2.99]", "unknown", True),
])
def test_the_driver_says_with_which_firmware_it_works(ranges: str, firmware: str, fits: bool) -> None:
    found = judge(driver_info=["Version=24.1.rc1", f"compatible_version_fw={ranges}"], firmware_info=f"Version={firmware}")["findings"]
    assert [one["check"] for one in found] == ([] if fits else ["firmware_pair"])
    if not fits:
        assert found[0]["expected"].startswith("firmware ") and "7.0.0 to 7." in found[0]["expected"]


def test_what_is_installed_and_will_be_replaced_is_a_warning() -> None:
    records = ["toolkit 8.0.RC3", "python 3.8", "torch_npu-2.1.0.post3-cp38-cp38-linux_aarch64.whl sha256:00"]
    assert [(one["check"], one["severity"], one["found"]) for one in judge(record=records)["findings"]] == [
        ("pair_installed", "warning", "torch_npu 2.1.0.post3 with CANN 8.0.RC3")]
    # Said once where the plan has the same.
    planned = {"versions": {"cann": "8.0.RC3", "torch_npu": "2.1.0.post3", "python": "3.8"}}
    for there in (records, records[1:]):
        assert [one["check"] for one in judge(record=there, over=planned)["findings"]] == ["pair_planned"]
    assert judge(record=["toolkit 8.0.RC1", *records[1:]])["findings"] == []


@pytest.mark.parametrize("name", stacks.NAMES)
def test_the_tables_of_a_stack_name_their_sources_and_fit_what_it_installs(name: str) -> None:
    text = (ROOT / f"stacks/{name}.yml").read_text(encoding="utf-8")
    stack = yaml.safe_load(text)
    cann = stack["cann"]["version"]
    versions = {"cann": cann, "python": stack["environment"]["python"], "driver": stack["cann"]["driver_pairs"][cann]["fits"][0],
                "torch_npu": next(wheel["version"] for wheel in stack["environment"]["wheels"] if wheel["name"] == "torch_npu")}
    tables = {"driver": stack["cann"]["driver_pairs"], "cann": stack["environment"]["cann_pairs"], "python": stack["environment"]["python_pairs"]}
    assert _probe_versions.pairs(versions, tables) == ([], [])
    for table in ("python_pairs", "driver_pairs"):
        before = text.split(f"  {table}:")[0].rstrip().splitlines()
        assert any("hiascend.com/" in line or "gitcode.com/" in line for line in before[-3:]), table
