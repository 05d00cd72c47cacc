"""What the checks found, in the forms of other programs."""
from __future__ import annotations

import json
import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.filter.check_changes import FilterModule
from ansible_collections.ascend.cluster.plugins.filter.check_older import FilterModule as Older
from ansible_collections.ascend.cluster.plugins.filter.check_report import check_report
from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms, _findings, _probe

from tests.unit.test_checks import hccn
from tests.unit.test_probe import SETTINGS, judge

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/checks.schema.json").read_text(encoding="utf-8"))
SILENT = _probe.node({"unreachable": True, "msg": 'no <route> to "it"'}, SETTINGS, "c")


def result(nodes: dict[str, dict[str, Any]], errors: tuple[str, ...] = (), **over: Any) -> dict[str, Any]:
    found = _findings.report(nodes, errors, {**SETTINGS, "time": "2026-01-02T03:04:05Z", **over})["result"]
    assert isinstance(found, dict)
    return found


CLEAN = result({"a": judge("a"), "b": judge("b")})
WARNED = result({"a": judge("a"), "b": judge("b", firewall="ufw")})
FAILED = result({"a": judge("a", hccn=hccn(link="link status: DOWN")), "b": judge("b", arch="riscv64", kernel="4.19"), "c": SILENT}, ("plan_x is <odd>",))


@pytest.mark.parametrize(("found", "status"), [
    (CLEAN, "clean"), (WARNED, "warnings"), (FAILED, "failures"), (result({"a": judge("a")}, ("plan_x is odd",)), "failures"),
    (result({"a": judge("a"), "b": judge("b", firewall="ufw")}, strict=True), "failures"),
])
def test_the_result_is_of_the_schema(found: dict[str, Any], status: str) -> None:
    assert found["status"] == status
    read = json.loads(check_report(found, "json"))
    jsonschema.validate(read, SCHEMA)
    assert read == found and list(_check_forms.ATTRIBUTES) == SCHEMA["properties"]["nodes"]["additionalProperties"]["required"][2:]


def test_the_result_names_node_and_check() -> None:
    assert {(item["node"], item["check"], item["severity"]) for item in FAILED["findings"]} == {
        ("a", "link", "failure"), ("b", "architecture", "failure"), ("b", "kernel_equal", "warning"), ("c", "reachable", "failure")}
    assert (FAILED["nodes"]["c"]["answered"], FAILED["nodes"]["a"]["npus"], FAILED["errors"]) == (False, 1, ["plan_x is <odd>"])


def test_prometheus() -> None:
    text = check_report(FAILED, "prom")
    assert 'ascend_cluster_check_finding{node="a",check="link",severity="failure"} 1\n' in text
    assert 'ascend_cluster_check_node_answered{node="c"} 0\n' in text and "\nascend_cluster_check_errors 1\n" in text
    assert "\nascend_cluster_check_time_seconds 1767323045\n" in text
    for line in text.splitlines():
        assert line.startswith("# ") or line.rpartition(" ")[2].isdecimal(), line
    assert check_report(result({'a"\\': judge("a", firewall="ufw")}), "prom").count('node="a\\"\\\\"') == 2


class Cells(HTMLParser):
    """Collects what stands in cells, and which words the page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.classes: list[str] = []
        self.text = ""
        self.outside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.classes += [value or "" for name, value in attrs if name == "class"]
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")] + ([tag] if tag == "script" else [])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_escapes_what_nodes_say() -> None:
    page = Cells(check_report(FAILED, "html"))
    assert page.outside == []
    assert 'no <route> to "it"' in page.text and "plan_x is <odd>" in page.text and "gave no answer" in page.text
    assert "The network link of an NPU is down" in page.text and page.classes.count("odd") == 2  # architecture and kernel of b
    clean = Cells(check_report(CLEAN, "html"))
    assert {"failure", "warning", "odd"} & set(clean.classes) == set() and "clean: 2 nodes" in clean.text


def test_changes() -> None:
    filters = {**FilterModule().filters(), **Older().filters()}
    assert filters["check_changes"](CLEAN, CLEAN) == []
    assert filters["check_changes"](WARNED, CLEAN) == ["new on b: A firewall is active: ufw"]
    assert filters["check_changes"](CLEAN, WARNED) == ["gone from b: A firewall is active: ufw"]
    assert "node new: c" in filters["check_changes"](FAILED, CLEAN) and "node no longer there: c" in filters["check_changes"](CLEAN, FAILED)
    rises = {device: f"packet statistics:|roce_rx_err_pkt_num:{3 + device}|mac_tx_total_pkt_num:900" for device in (1, 2)}
    less, more = (result({"a": judge("a", hccn=[line for device in devices for line in hccn(device, stat_again=rises[device])])}) for devices in ((1,), (1, 2)))
    assert filters["check_changes"](more, less) == ["other on a: Errors of an NPU's network rise: NPU 1: roce_rx_err_pkt_num by 1; "
                                                    "NPU 2: roce_rx_err_pkt_num by 2; before NPU 1: roce_rx_err_pkt_num by 1"]


@pytest.mark.parametrize(("text", "words"), [
    (None, "There is no PATH on the controller. "), ("[]", "found schema None, expected 1"), ('{"schema": 0}', "found schema 0, expected 1"),
    ("{", "PATH cannot be read: Expecting")])
def test_an_older_result_that_cannot_be_compared_with_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "checks.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    read = Older().filters()["check_older"](str(path))
    assert read["result"] == {} and words.replace("PATH", str(path)) in read["error"] and read["error"].endswith("Nothing has been measured or mended.")
    path.write_text(json.dumps(WARNED), encoding="utf-8")
    assert Older().filters()["check_older"](str(path)) == {"result": WARNED, "error": ""}


def test_the_older_result_is_read_before_anything_is_mended_or_measured() -> None:
    roles = Path(__file__).parents[2] / "roles"
    tasks = yaml.safe_load((roles / "check_cluster/tasks/main.yml").read_text(encoding="utf-8"))
    assert tasks[0]["ansible.builtin.import_tasks"] == "older.yml"


def test_paths_begin_in_the_folder_in_which_ansible_playbook_is_called(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shown = "{{ __check_cluster_compare }} {{ __preflight_profile }}"
    (tmp_path / "play.yml").write_text(json.dumps([
        {"name": "Tell", "hosts": "localhost", "connection": "local", "gather_facts": False,
         "vars_files": [str(root / f"roles/{role}/vars/main.yml") for role in ("cluster", "preflight", "check_cluster")],
         "tasks": [{"name": "Tell", "ansible.builtin.debug": {"msg": f"paths={shown}."}}]}]), encoding="utf-8")
    for compare, profile, expected in (("old/checks.json", "~/good.json", f"{tmp_path}/old/checks.json /home/of/me/good.json"), ("/x/y", "", "/x/y ")):
        done = subprocess.run(["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), "-e", json.dumps(
            {"check_cluster_compare": compare, "check_cluster_profile": profile})], cwd=root, capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "PWD": str(tmp_path), "HOME": "/home/of/me", "ANSIBLE_HOME": str(tmp_path),
                 "ANSIBLE_LOCAL_TEMP": str(tmp_path)})
        assert f"paths={expected}." in " ".join(done.stdout.split()), done.stdout + done.stderr
