"""What a node says of its training: the module as it is called, with a systemctl that the test plays."""
import json
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.modules import training_state

ME = pwd.getpwuid(os.geteuid()).pw_name
FINISHED = {"ActiveState": "inactive", "ExecMainStatus": "0"}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.at = {}

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + 1e9

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < 1000, "waits for ever"
        for moment in sorted(self.at):
            if moment <= self.now:
                self.at.pop(moment)()


@pytest.fixture
def node(tmp_path, monkeypatch, capsys):
    """A node whose unit has the properties in `node.unit`; `node.ask(...)` calls the module."""
    class Node:
        def __init__(self):
            self.clock = Clock()
            self.runs = tmp_path / "runs"
            self.run = self.runs / "abc"
            self.log = self.run / "train.log"
            self.unit = dict(FINISHED)

        def program(self, name, text):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

        def set(self, **properties):
            self.unit.update(properties)
            self.program("systemctl", "cat <<'E'\n" + "".join(f"{key}={value}\n" for key, value in self.unit.items()) + "E")

        def ask(self, **options):
            with patch_module_args({"unit": "u.service", "run_dir": str(self.runs), "user": ME, **options}), pytest.raises(SystemExit) as ended:
                training_state.main()
            answer = json.loads(capsys.readouterr().out)
            assert bool(ended.value.code) == bool(answer.get("failed"))
            return answer

    node = Node()
    node.run.mkdir(parents=True)
    (node.runs / "current").symlink_to("abc")
    node.set()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(training_state, "time", node.clock)
    return node


def test_the_end_of_a_run(node):
    (node.run / "result").write_text("status=succeeded\nreason=a=b\nno equals sign\n")
    answer = node.ask()
    assert (answer["changed"], answer["active"], answer["active_state"], answer["exec_main_status"]) == (False, False, "inactive", 0)
    assert (answer["current_run"], answer["log"]) == ("abc", str(node.log))
    assert answer["result"] == {"status": "succeeded", "reason": "a=b"}


def test_a_run_is_asked_for_by_its_name_and_none_may_be_current(node):
    (node.runs / "old").mkdir()
    (node.runs / "old" / "result").write_text("status=failed\n")
    assert node.ask(run_id="old")["result"] == {"status": "failed"}
    assert node.ask(run_id="old")["current_run"] == "abc"
    (node.runs / "current").unlink()
    assert node.ask()["current_run"] == ""
    assert node.ask()["result"] == {}


@pytest.mark.parametrize("state", ["active", "activating", "deactivating", "reloading"])
def test_a_unit_that_starts_or_stops_is_active(node, state):
    node.set(ActiveState=state)
    assert node.ask()["active"] is True
    assert node.ask()["active_state"] == state


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_unit_that_has_ended_is_not(node, state):
    node.set(ActiveState=state, ExecMainStatus="137")
    answer = node.ask()
    assert (answer["active"], answer["exec_main_status"]) == (False, 137)


def test_a_node_without_systemd_says_so(node):
    node.program("systemctl", "echo System has not been booted >&2; exit 1")
    answer = node.ask()
    assert answer["failed"]
    assert "systemctl show u.service failed with status 1: System has not been booted" in answer["msg"]


def test_it_waits_for_the_unit_to_end_and_not_longer(node):
    node.set(ActiveState="active")
    node.clock.at[1.0] = lambda: node.set(ActiveState="inactive")
    assert node.ask(wait_seconds=2)["active"] is False
    assert node.clock.now == 1.0
    node.set(ActiveState="active")
    assert node.ask(wait_seconds=2)["active"] is True
    assert node.clock.now == 3.0
    node.ask()
    assert node.clock.now == 3.0


def test_before_there_is_a_training_user_there_are_no_runs(node):
    answer = node.ask(user="no-such-user")
    assert (answer["current_run"], answer["result"], answer["active"]) == ("", {}, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: that root reads runs as the training user, since this is not root")
def test_a_link_to_what_only_root_reads_shows_nothing(node):
    """The training user put it there; the module runs as root, and what it says goes to the controller's log."""
    folder = Path(tempfile.mkdtemp(prefix="training-state-", dir="/srv"))
    try:
        folder.chmod(0o755)
        (folder / "secret").write_text("status=secret\n")
        (folder / "secret").chmod(0o600)
        (folder / "runs" / "abc").mkdir(parents=True)
        (folder / "runs" / "current").symlink_to("abc")
        for name in ("train.log", "result"):
            (folder / "runs" / "abc" / name).symlink_to(folder / "secret")
        node.runs = folder / "runs"
        answer = node.ask(user="nobody")
        assert (answer["current_run"], answer["result"]) == ("abc", {})
        (folder / "secret").chmod(0o644)
        answer = node.ask(user="nobody")
        assert answer["result"] == {"status": "secret"}, "what the user reads is shown"
    finally:
        shutil.rmtree(folder)
