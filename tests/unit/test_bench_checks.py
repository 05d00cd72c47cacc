"""What `make bench-checks` says, and that its pretend hosts are seen healthy."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import checks

LOOKS = [checks.Look(2, 4.0, 6.0, 4), checks.Look(16, 11.0, 20.0, 4), checks.Look(64, 35.0, 68.0, 5)]


def test_the_table_compares_with_the_first_row_and_tells_larger_sizes_by_the_last_slope() -> None:
    assert checks.table(LOOKS, 2).splitlines() == [
        "| hosts | seconds | CPU, s | CPU a host, s | a host, against the first row | remote executions a host |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 2 | 4.0 | 6.0 | 3.00 | 1.00 | 4 |", "| 16 | 11.0 | 20.0 | 1.25 | 0.42 | 4 |", "| 64 | 35.0 | 68.0 | 1.06 | 0.35 | 5 |", "",
        "Measured on 2 cores in one run. From 16 to 64 hosts each more costs 1.00 s of CPU. By that slope, which is an estimate: "
        "128 nodes 67 s (132 s of CPU), 1,000 nodes 503 s (1004 s of CPU) on as many cores."]


def test_what_the_controller_does_for_itself_is_no_remote_execution() -> None:
    assert checks.executions({"node1": {"preflight": 4}, "node2": {"preflight": 3, "plays": 2}, "localhost": {"preflight": 9}}) == 5


def test_the_page_has_a_place_for_the_table() -> None:
    page = checks.PAGE.read_text(encoding="utf-8")
    assert checks.between(page, "cost", "x") != page


def test_two_pretend_hosts_are_seen_healthy_by_as_many_executions_as_are_promised(tmp_path: Path) -> None:
    recorded = checks.record(tmp_path)
    assert sum(line.startswith("npu_device=") for line in recorded) == 8
    assert checks.look(recorded, 2, tmp_path).executions <= 6


@pytest.mark.parametrize(("found", "words"), [
    ({"status": "warnings", "nodes": {"a": {}, "b": {}}, "findings": [{"node": "b", "found": "NPU 3: DOWN"}]}, "warnings, 2 of 2 nodes.*NPU 3: DOWN"),
    ({"status": "clean", "nodes": {"a": {}}, "findings": []}, "clean, 1 of 2 nodes")])
def test_hosts_that_are_not_seen_healthy_give_no_figures(found: dict[str, Any], words: str) -> None:
    with pytest.raises(checks.BenchError, match=f"(?s){words}"):
        checks.expect_healthy(found, 2)
