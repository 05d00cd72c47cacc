"""What the checks found, in the forms of other programs."""
from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter.check_changes import check_changes
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
    assert check_changes(CLEAN, json.dumps(CLEAN)) == []
    assert check_changes(WARNED, json.dumps(CLEAN)) == ["new on b: A firewall is active: ufw"]
    assert check_changes(CLEAN, json.dumps(WARNED)) == ["gone from b: A firewall is active: ufw"]
    assert "node new: c" in check_changes(FAILED, json.dumps(CLEAN)) and "node no longer there: c" in check_changes(CLEAN, json.dumps(FAILED))
    for broken in ("[]", "{", '{"schema": 0}'):
        with pytest.raises(AnsibleFilterError, match="cannot be read"):
            check_changes(CLEAN, broken)
