"""The rehearsal's summary, from recorded events of ansible-runner."""
from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rehearsal.report import Report

EVENTS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "recorded/ansible_runner/rescued.yml").read_text())


def summary(path: Path, *runs: list[dict[str, Any]]) -> list[str]:
    shown = io.StringIO()
    with Report(path / "log", Console(file=shown, width=200)) as report:
        for events in runs:
            report.stats = {}
            for event in events:
                report.event(event)
        report.summary(False, {})
    return [line for line in shown.getvalue().splitlines() if line.startswith(("FAILED", "    node2 could", "Ansible"))]


FAILED = [
    "FAILED on node4, stage 'Prepare the operating system', task 'Install | Look for the file':",
    "FAILED on node2, stage 'Prepare the operating system', task 'Launch | Say which node could not start it':",
    "    node2 could not start the training",
]


def test_what_was_rescued_did_not_fail(tmp_path: Path) -> None:
    assert summary(tmp_path, EVENTS) == FAILED


def test_each_run_settles_its_own(tmp_path: Path) -> None:
    succeeded = [event for event in EVENTS if event["event"] in ("playbook_on_play_start", "runner_on_ok")]
    succeeded.append({"event": "playbook_on_stats", "event_data": {"ok": {"node1": 1, "node2": 1}}})
    assert summary(tmp_path, EVENTS, succeeded) == FAILED
    assert summary(tmp_path, succeeded) == []


@pytest.mark.parametrize("count", range(3, len(EVENTS)))
def test_without_statistics_nothing_is_left_out(tmp_path: Path, count: int) -> None:
    """Ansible was killed: whether a rescue would have come is not known."""
    lines = summary(tmp_path, EVENTS[:count])
    events = [event for event in EVENTS[:count] if event["event"] in ("runner_on_failed", "runner_on_unreachable")]
    assert lines[0] == "Ansible was ended before it could say what of this was rescued:"
    assert len([line for line in lines if line.startswith("FAILED")]) == len(events) > 0
