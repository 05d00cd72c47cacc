"""What the NPUs did, judged; and one report of all tiers."""
from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from ansible_collections.ascend.cluster.plugins.filter.check_begins import check_begins
from ansible_collections.ascend.cluster.plugins.filter.check_judged import check_judged
from ansible_collections.ascend.cluster.plugins.filter.check_report import check_report
from ansible_collections.ascend.cluster.plugins.filter.check_table import FilterModule as Table
from ansible_collections.ascend.cluster.plugins.module_utils import _check_tiers, _checks, _deep, _deep_page, _findings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_check_forms import SCHEMA, Cells
from tests.unit.test_deep_pairs import pairs
from tests.unit.test_probe import SETTINGS as QUICK
from tests.unit.test_probe import judge as look

SETTINGS = {"slow_factor": 2, "bandwidth_share": 0.25, "limits": {}}
NODES = ["a", "b", "c", "d"]


def collectives(gb: float = 20.0) -> dict[str, Any]:
    return {"wrong": [], **{name: {"seconds": 1 / gb, "gb_per_second": gb} for name in ("all_reduce", "all_to_all")}}


def rank(device: int, gb: float = 20.0, alone: bool = True, **over: Any) -> dict[str, Any]:
    """What one NPU tells."""
    compute = {"matmul_seconds": 0.0005, "tflops": 280.0, "memory_gb_per_second": 700.0, "host_gb_per_second": 24.0, "pinned": True, "wrong": []}
    return {"device": device, "versions": "torch 2.1.0, torch_npu 2.1.0.post3", "collectives": collectives(gb),
            **({"compute": {**compute, **over}} if alone else {})}


def phase(name: str, groups: list[list[str]], gb: float = 20.0, what: str = "collectives") -> dict[str, Any]:
    return {"name": name, "what": what, "groups": groups, "seconds": 10.0,
            "results": {node: [rank(device, gb, what == "all") for device in (0, 1)] for group in groups for node in group}}


def said(nodes: list[str] = NODES) -> dict[str, Any]:
    """What the master of a good cluster tells."""
    phases = [phase("node", [[node] for node in nodes], 150.0, "all"),
              {"name": "vendor", "what": "vendor", "groups": [[node] for node in nodes], "seconds": 0.1,
               "results": {node: [{"tool": "hccl_test", "why": "no mpirun"}] for node in nodes}}]
    results: list[tuple[list[int], bool]] = []
    for number in range(2 if len(nodes) > 2 else 0):
        groups = pairs.next_round(range(len(nodes)), results)
        results += [(group, True) for group in groups]
        phases.append(phase(f"pairs {number + 1}", [[nodes[at] for at in group] for group in groups]))
    if len(nodes) > 1:
        phases.append(phase("all", [nodes], 18.0))
    return {"joined": nodes, "phases": phases, "bad": [], "unsure": []}


def of(one: dict[str, Any], name: str, node: str) -> list[dict[str, Any]]:
    (found,) = [each["results"][node] for each in one["phases"] if each["name"] == name]
    assert isinstance(found, list)
    return found


def judged(one: dict[str, Any], nodes: list[str] = NODES, outputs: dict[str, Any] | None = None, npus: Any = None, **over: Any) -> dict[str, Any]:
    printed = {node: {"rc": 0, "stdout": (json.dumps(one) if node == nodes[0] else "{}") + "\r\n\r\n--- errors\r\nsome warning\r\n"} for node in nodes}
    return _deep.judge({**printed, **(outputs or {})}, nodes[0], {**SETTINGS, **over}, npus or {node: ["NPU 0", "NPU 1"] for node in nodes})


def listed(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(node, item["check"], item["found"]) for node, items in found["findings"].items() for item in items]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_good_cluster_is_clean_and_its_figures_are_told(count: int) -> None:
    found = judged(said(NODES[:count]), NODES[:count])
    assert listed(found) == []
    figures = found["measured"]
    assert figures["tools"] == ["torch 2.1.0, torch_npu 2.1.0.post3 over hccl", "hccl_test: no mpirun"]
    assert len(figures["npus"]) == 2 * count and figures["npus"][0]["node_all_reduce"] == 150.0
    assert [one["nodes"] for one in figures["pairs"]] == {1: [], 2: [["a", "b"]], 3: [["a", "b"], ["c", "a"]],
                                                          4: [["a", "b"], ["c", "d"], ["a", "c"], ["b", "d"]]}[count]
    assert ("all_all_reduce" in figures["npus"][0]) == (count > 1)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.data())
def test_no_false_alarm_where_figures_scatter_a_little(count: int, data: st.DataObject) -> None:
    one = said(NODES[:count])
    for each in one["phases"]:
        for ranks in each["results"].values():
            for npu in ranks:
                for part in [npu.get("compute", {}), *(npu["collectives"][name] for name in ("all_reduce", "all_to_all") if "collectives" in npu)]:
                    for key, value in part.items():
                        if isinstance(value, float):
                            part[key] = value * data.draw(st.floats(0.9, 1.1))
    assert listed(judged(one, NODES[:count])) == []


def slow(one: dict[str, Any]) -> None:
    of(one, "node", "b")[1]["compute"]["matmul_seconds"] = 0.0011


def memory(one: dict[str, Any]) -> None:
    of(one, "node", "b")[0]["compute"]["memory_gb_per_second"] = 500.0


def host(one: dict[str, Any]) -> None:
    of(one, "node", "b")[0]["compute"]["host_gb_per_second"] = 12.0


def value(one: dict[str, Any]) -> None:
    of(one, "node", "b")[0]["compute"]["wrong"] = ["3 of 4096 values of a product are wrong"]


def wrong_sum(one: dict[str, Any]) -> None:
    of(one, "node", "b")[1]["collectives"]["wrong"] = ["1 of 9 values of all_reduce over 2 NPUs are wrong"]


def crash(one: dict[str, Any]) -> None:
    of(one, "node", "b")[:] = [{"device": 0, "failed": "died of signal 6", "at": "compute", "text": "a\nterminate called"},
                               {"device": 1, "failed": "ended, since NPU 0 failed", "at": "meet the others", "text": ""}]


def hang(one: dict[str, Any]) -> None:
    of(one, "node", "b")[:] = [{"device": device, "failed": "no answer within 300 s", "at": "all_reduce", "text": ""} for device in (0, 1)]


def lost(one: dict[str, Any]) -> None:
    of(one, "node", "b")[:] = [{"failed": "the node gave no answer", "at": "node", "text": ""}]


def within(one: dict[str, Any]) -> None:
    of(one, "node", "b")[:] = [rank(device, 90.0) for device in (0, 1)]


def between(one: dict[str, Any]) -> None:
    for each in one["phases"]:
        if each["name"].startswith("pairs"):
            for group in each["groups"]:
                if "b" in group:
                    for node in group:
                        each["results"][node] = [rank(device, 9.0, False) for device in (0, 1)]


def way(one: dict[str, Any]) -> None:
    for node in "ab":
        of(one, "pairs 1", node)[:] = [rank(device, 9.0, False) for device in (0, 1)]


def blamed(one: dict[str, Any]) -> None:
    one["bad"] = ["b"]
    of(one, "pairs 1", "a")[:] = [{"device": device, "failed": "ended, since b failed", "at": "all_reduce", "text": ""} for device in (0, 1)]
    of(one, "pairs 1", "b")[:] = [{"device": 0, "failed": "ended with status 1", "at": "meet the others", "text": "RuntimeError: EI0006"},
                                  {"device": 1, "failed": "ended, since NPU 0 failed", "at": "meet the others", "text": ""}]
    of(one, "pairs 2", "b")[:] = of(one, "pairs 1", "b")


def together(one: dict[str, Any]) -> None:
    of(one, "all", "b")[:] = [{"device": device, "failed": "no answer within 300 s", "at": "all_to_all", "text": ""} for device in (0, 1)]


FAULTS: list[tuple[Any, str, str]] = [
    (slow, "npu_slow", "NPU 1: 1.1 ms"), (memory, "npu_memory_bandwidth", "NPU 0: 500 GB/s"), (host, "host_copy", "NPU 0: 12 GB/s"),
    (value, "npu_value", "NPU 0: 3 of 4096 values of a product are wrong"), (wrong_sum, "collective_value", "NPU 1: 1 of 9 values of all_reduce"),
    (crash, "npu_compute", "NPU 0: died of signal 6 in compute (terminate called)"),
    (hang, "collective_answer", "NPU 0, 1: no answer within 300 s in all_reduce"),
    (lost, "deep_answer", "no answer in the measurement node"), (within, "node_bandwidth", "all_reduce 90 GB/s"),
    (between, "pair_bandwidth", "all_reduce 9 GB/s at best"),
    (blamed, "pair_fails", "with a and d: ended with status 1 in meet the others (RuntimeError: EI0006)"),
    (together, "all_nodes", "NPU 0, 1: no answer within 300 s in all_to_all"),
]


@pytest.mark.parametrize(("spoil", "check", "words"), FAULTS, ids=[check for _, check, _ in FAULTS])
def test_each_fault_is_found_and_nobody_else_is_accused(spoil: Any, check: str, words: str) -> None:
    one = said()
    spoil(one)
    found = listed(judged(one))
    assert {(node, name) for node, name, _ in found} == {("b", check)}, found
    assert found[0][2].startswith(words)
    assert json.loads(json.dumps(judged(one)["measured"])) == judged(one)["measured"]


def test_a_stress_of_several_nodes_accuses_none_of_its_own_links() -> None:
    for nodes, check in ((["a", "b"], "all_nodes"), (["a"], "collective_answer")):
        one = {"joined": nodes, "phases": [phase("stress", [nodes], what="stress")], "bad": [], "unsure": []}
        for node in nodes:
            of(one, "stress", node)[:] = [{"device": device, "failed": "no answer within 300 s", "at": "all_reduce", "text": ""} for device in (0, 1)]
        assert {name for _, name, _ in listed(judged(one, nodes))} == {check}


def test_two_that_are_slow_or_fail_with_each_other_are_both_named() -> None:
    one = said()
    way(one)
    assert {(node, check) for node, check, _ in listed(judged(one))} == {("a", "way_bandwidth"), ("b", "way_bandwidth")}
    two = said(NODES[:2])
    two["unsure"] = [["a", "b"]]
    assert listed(judged(two, NODES[:2])) == [("a", "pair_unsure", "a with b"), ("b", "pair_unsure", "a with b")]


def test_two_npus_of_which_one_is_slow() -> None:
    one = said(["a"])
    of(one, "node", "a")[1]["compute"]["matmul_seconds"] = 0.0011
    assert listed(judged(one, ["a"])) == [("a", "npu_slow", "NPU 1: 1.1 ms")]
    assert judged(one, ["a"], slow_factor=3)["findings"] == {"a": []}


@pytest.mark.parametrize(("limits", "expected"), [
    ({"tflops": 281}, [("a", "below_limit", "NPU 0: 280"), ("a", "below_limit", "NPU 1: 280"),
                       ("b", "below_limit", "NPU 0: 280"), ("b", "below_limit", "NPU 1: 280")]),
    ({"node_all_reduce": 151.0}, [("a", "below_limit", "150"), ("b", "below_limit", "150")]),
    ({"pair_all_to_all": "19"}, [("a", "below_limit", "a with b: 18"), ("b", "below_limit", "a with b: 18")]),
    ({"tflops": 280, "host_gb_per_second": 24, "pair_all_reduce": 18}, []),
])
def test_limits_of_the_site(limits: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert listed(judged(said(NODES[:2]), NODES[:2], limits=limits)) == expected


def test_who_says_nothing_or_something_else() -> None:
    one = said()
    one["joined"] = ["a", "c", "d"]
    found = listed(judged(one, outputs={"b": {"rc": 1, "stdout": "Failed to start transient service unit: already there\r\n",
                                               "stderr": "Shared connection to b closed.\r\n", "msg": "non-zero return code"}}))
    assert found == [("b", "deep_answer", "Failed to start transient service unit: already there (likely cause: "
                      + found[0][2].partition("(likely cause: ")[2])]
    assert listed(judged(one, outputs={"b": {"stdout": '{"error": "a training holds /x/lock"}\n'}}))[0][2] == "a training holds /x/lock"
    assert listed(judged(one))[0][2] == "it did not come to the master"
    for output in ({"stdout": "\n--- errors\nTraceback\nImportError: libhccl.so"}, {"unreachable": True, "msg": "no route"}, {"stdout": "[1]"}, {}):
        ((node, check, words),) = listed(judged(one, outputs={"a": output}))
        assert (node, check) == ("a", "deep_answer") and words
    assert "libhccl.so" in listed(judged(one, outputs={"a": {"stdout": "\n--- errors\nImportError: libhccl.so: cannot open"}}))[0][2]


def stressed(tflops: list[float], wrong: list[str] | None = None) -> dict[str, Any]:
    one = {"joined": ["a", "b"], "bad": [], "unsure": [], "phases": [phase("stress", [["a", "b"]], 18.0, "stress"), phase("pairs 1", [["a", "b"]])]}
    for node, values in (("a", [280.0] * len(tflops)), ("b", tflops)):
        for npu in of(one, "stress", node):
            npu["stress"] = {"samples": [{"at": 10.0 * at, "tflops": value, "memory_gb_per_second": 700.0, "host_gb_per_second": 24.0,
                                          "all_reduce": {"gb_per_second": 18.0}, "all_to_all": {"gb_per_second": 18.0}, "wrong": []}
                                         for at, value in enumerate(values)]}
    of(one, "stress", "b")[0]["stress"]["samples"][-1]["wrong"] = wrong or []
    return one


@pytest.mark.parametrize(("tflops", "drifts"), [
    ([280.0] * 9, False), ([280.0, 280, 280, 250, 230, 220, 200, 200, 200], True), ([280.0, 280, 280, 280, 100, 280, 280, 280, 280], False),
    ([280.0, 200.0], False), ([200.0, 200, 200, 280, 280, 280], False), ([280.0, 280, 280, 280, 209, 209], True)])
def test_drift(tflops: list[float], drifts: bool) -> None:
    found = listed(judged(stressed(tflops), ["a", "b"]))
    assert {(node, check) for node, check, _ in found} == ({("b", "drift")} if drifts else set())
    assert not drifts or found[0][2].startswith("NPU 0: tflops from 280 to 20")


def test_what_is_wrong_in_a_stress_is_told() -> None:
    assert listed(judged(stressed([280.0] * 3, ["1 of 9 values of a product are wrong"]), ["a", "b"])) == [
        ("b", "npu_value", "NPU 0: 1 of 9 values of a product are wrong")]


# --- tiers ---
CLEAN = _findings.report({"a": look("a"), "b": look("b")}, [], {**QUICK, "time": "2026-01-02T03:04:05Z"})
THERE = {"rc": 0, "stdout": ""}


@pytest.mark.parametrize(("report", "looks", "words", "error"), [
    (CLEAN, {}, "", False),
    (_findings.report({"a": look("a", arch="riscv64"), "b": look("b")}, [], QUICK), {}, "quick found failures", False),
    (_findings.report({"a": look("a"), "b": look("b")}, ["plan_x is odd"], QUICK), {}, "quick found failures", False),
    (_findings.report({"a": look("a", unit_state="active"), "b": look("b")}, [], QUICK), {}, "the training job runs on a and is not disturbed", True),
    (CLEAN, {"b": {"rc": 0, "stdout": "missing=/opt/x/python (made by playbooks/conda_env.yml)\r\n"}},
     "the environment of the training is not installed on b: found no /opt/x/python (made by playbooks/conda_env.yml). Run `ansible-playbook site.yml", True),
    (CLEAN, {"b": {"rc": 2, "stdout": "", "stderr": "no space left"}}, "the program could not be brought to b: no space left", True),
    (CLEAN, {"b": {"unreachable": True, "msg": "no route"}}, "the program could not be brought to b: no route", True),
])
def test_whether_the_npus_are_measured(report: dict[str, Any], looks: dict[str, Any], words: str, error: bool) -> None:
    hostvars = {node: {"__check_cluster_brought": looks.get(node, THERE)} for node in ("a", "b")}
    begun = check_begins(report, ["a", "b"], hostvars)
    assert begun["error"] == error and begun["words"].startswith(words) and bool(begun["words"]) == bool(words)
    whole = _check_tiers.together(report, "deep", {**begun, "tier": "deep"}, [], False)
    assert whole["count"] == report["count"] + error
    assert (f"deep: not begun, {words}" in whole["message"]) == bool(words)
    assert whole["result"]["status"] == ("failures" if whole["count"] else "clean")


def test_one_report_of_the_tiers() -> None:
    one = said(["a", "b"])
    slow(one)
    found = judged(one, ["a", "b"])
    whole = _check_tiers.together(CLEAN, "deep", {"words": "", "error": False, "tier": "deep"}, [found], False)
    assert (whole["count"], whole["message"], whole["result"]["status"], whole["result"]["tier"]) == (0, "", "warnings", "deep")
    assert "Measured: 1 warning on 1 of 2 nodes.\n\nb:\n  - An NPU computes slowly: found NPU 1: 1.1 ms" in whole["warnings"]
    assert whole["result"]["checks"] == sum(check.tier != "stress" for check in _checks.TABLE) > CLEAN["result"]["checks"]
    strict = _check_tiers.together(CLEAN, "deep", {}, [found], True)
    assert (strict["count"], strict["warnings"], strict["result"]["status"]) == (1, "", "failures") and "An NPU computes slowly" in strict["message"]
    jsonschema.validate(json.loads(check_report(whole["result"], "json")), SCHEMA)
    jsonschema.validate(json.loads(check_report(CLEAN["result"], "json")), SCHEMA)


def test_a_stress_adds_pairs_and_time() -> None:
    both = [judged(said(["a", "b"]), ["a", "b"]), judged(stressed([280.0] * 7), ["a", "b"])]
    result = _check_tiers.together(CLEAN, "stress", {}, both, False)["result"]
    assert len(result["measured"]["npus"]) == 4 and len(result["measured"]["series"]) == 4 and result["measured"]["seconds"] == 40.1
    jsonschema.validate(json.loads(check_report(result, "json")), SCHEMA)
    page = check_report(result, "html")
    assert page.count("<svg") == 5 and page.count("<polyline") == 20


@pytest.mark.parametrize(("nodes", "minutes", "words"), [
    (1, 5.0, "stress: 5 min of the same again and again (check_cluster_stress_minutes): about 5 min in all"),
    (2, 1.0, "stress: 1 min of the same again and again (check_cluster_stress_minutes), then every node with every other in 1 round of about 30 s: "
             "about 2 min in all"),
    (5, 30.0, "in 5 rounds of about 30 s: about 32 min in all"), (16, 30.0, "in 15 rounds of about 30 s: about 38 min in all")])
def test_the_time_of_a_stress_is_told_beforehand(nodes: int, minutes: float, words: str) -> None:
    assert words in _check_tiers.expects({"meeting_seconds": 30.0}, nodes, minutes)


def test_what_did_not_start_is_its_own_answer() -> None:
    looked = {"__preflight_node": {"facts": {"torch_devices": []}}}
    alone = json.dumps({**said(["a", "b"]), "joined": ["a"]})
    hostvars = {"a": {**looked, "__check_cluster_started": {"rc": 0}, "__check_cluster_ended": {"rc": 0, "stdout": alone}},
                "b": {**looked, "__check_cluster_started": {"rc": 1, "stderr": "in progress already"},
                      "__check_cluster_ended": {"rc": 0, "stdout": json.dumps(said())}}}
    found = listed(check_judged(["a", "b"], hostvars, SETTINGS))
    assert [(node, check) for node, check, _ in found] == [("b", "deep_answer")] and "in progress already" in found[0][2]


def test_an_npu_is_named_as_npu_smi_names_it() -> None:
    one = said(["a", "b"])
    slow(one)
    of(one, "node", "b")[0]["compute"]["wrong"] = of(one, "node", "b")[1]["compute"]["wrong"] = ["3 of 4096"]
    two_chips = judged(one, ["a", "b"], npus={"a": ["NPU 2 chip 0", "NPU 2 chip 1"], "b": ["NPU 2 chip 0", "NPU 2 chip 1"]})
    assert [found for _, _, found in listed(two_chips)] == ["device 0 (NPU 2 chip 0), device 1 (NPU 2 chip 1): 3 of 4096", "device 1 (NPU 2 chip 1): 1.1 ms"]
    assert [npu["name"] for npu in two_chips["measured"]["npus"]] == ["device 0 (NPU 2 chip 0)", "device 1 (NPU 2 chip 1)"] * 2
    unknown = judged(one, ["a", "b"], npus={"a": [], "b": ["NPU 0"]})
    assert [found for _, _, found in listed(unknown)] == ["NPU 0, device 1: 3 of 4096", "device 1: 1.1 ms"]


# --- forms ---
def spoiled(fails: bool = False) -> dict[str, Any]:
    """b is slow with everybody; c and d fail with each other."""
    one = said()
    between(one)
    if fails:
        of(one, "pairs 1", "d")[:] = [{"device": 0, "failed": "x", "at": "all_reduce", "text": ""}]
    found = copy.deepcopy(judged(one))
    quick = _findings.report({node: look(node) for node in NODES}, [], {**QUICK, "time": "2026-01-02T03:04:05Z"})
    result = _check_tiers.together(quick, "deep", {}, [found], False)["result"]
    assert isinstance(result, dict)
    return result


def test_the_page_has_matrices_and_figures_and_needs_nothing_else() -> None:
    page = Cells(check_report(spoiled(True), "html"))
    assert page.outside == [] and "all_reduce between nodes, GB/s" in page.text and "torch_npu 2.1.0.post3 over hccl" in page.text
    assert page.classes.count("cell failure") == 4  # c with d in two matrices
    assert page.classes.count("cell none") == 2 * 4  # a with d and b with c did not meet
    assert Cells(check_report(CLEAN["result"], "html")).text.count("GB/s") == 0


def test_colours_go_from_red_to_green() -> None:
    assert [_deep_page.colour(value, 20.0) for value in (0.0, 9.0, 15.0, 20.0, 30.0)] == [
        "#f8d0d0", "hsl(0,60%,82%)", "hsl(60,60%,86%)", "hsl(120,60%,90%)", "hsl(120,60%,90%)"]
    assert _deep_page.colour(40.0, 20.0, False) == "hsl(0,60%,82%)"


def test_figures_for_prometheus() -> None:
    text = check_report(spoiled(), "prom")
    assert 'ascend_cluster_npu_tflops{node="b",npu="1"} 280\n' in text
    assert 'ascend_cluster_pair_all_reduce_bytes_per_second{node="a",other="b"} 9e+09\n' in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0, line
    assert "tflops" not in check_report(CLEAN["result"], "prom")


def test_the_table_for_a_terminal() -> None:
    draw = Table().filters()["check_table"]
    lines = draw(spoiled(), 110)
    assert max(map(len, lines)) <= 110 and lines[0] == f"warnings: 4 nodes, {spoiled()['checks']} checks, tier deep"
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line.startswith("|")}
    assert rows["b"][:2] == ["-", "2"] and rows["b"][-1] == "pair_bandwidth"
    assert rows["a"][-1] == "clean" and rows["a"][2:7] == ["280", "700", "24", "150", "20"]
    assert all(line.endswith(("|", "+")) for line in lines if line[0] in "|+"), "nothing is cut off"
    quick = draw(CLEAN["result"], 80)
    assert max(map(len, quick)) <= 80 and not any("GB/s" in line for line in quick) and sum("clean" in line for line in quick) == 3
    many = {**CLEAN["result"], "nodes": {f"node{number}": CLEAN["result"]["nodes"]["a"] for number in range(100)}}
    assert any("36 more" in line for line in draw(many, 80))
