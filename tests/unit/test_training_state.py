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
FINISHED = {"ActiveState": "inactive", "ExecMainStatus": "0", "ExecMainExitTimestamp": "Mon 2026-11-23 20:00:00 UTC"}


class Clock:
    """Time that passes only while somebody sleeps."""

    strptime = staticmethod(training_state.time.strptime)

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
    assert answer["ended_at"] == 1795464000.0
    assert (answer["log_text"], answer["log_offset"]) == ("", -1)
    assert answer["clock"] == [node.clock.time()] * 2


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


@pytest.mark.parametrize("stamp", ["", "n/a", "Mon 2026-11-23 20:00:00 CET", "Mon 2026-11-23"])
def test_a_time_that_is_not_known_is_0(node, stamp):
    node.set(ExecMainExitTimestamp=stamp)
    assert node.ask()["ended_at"] == 0


def test_the_time_of_the_end_is_universal(monkeypatch):
    for zone in ("Asia/Shanghai", "America/New_York", "UTC"):
        monkeypatch.setenv("TZ", zone)
        assert training_state.exit_time("Mon 2026-11-23 20:00:00 UTC") == 1795464000.0


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


@pytest.mark.parametrize(("size", "offset", "waited"), [
    (training_state.CHUNK, 0, 0), (training_state.CHUNK - 1, 0, 1), (training_state.CHUNK + 7, 7, 0), (training_state.CHUNK + 7, 8, 1),
    (training_state.CHUNK * 3, -1, 1), (None, 0, 1),
])
def test_a_follower_that_lags_a_whole_part_behind_does_not_wait(node, size, offset, waited):
    node.set(ActiveState="active")
    if size is not None:
        node.log.write_bytes(b"\n" * size)
    node.ask(wait_seconds=1, log_offset=offset)
    assert node.clock.now == waited


def test_a_follower_is_given_the_whole_log_in_parts(node):
    lines = [f"line {number} é\n" * 3 for number in range(20000)]
    node.log.write_text("".join(lines), encoding="utf-8")
    text, offset, asked = "", 0, 0
    while True:
        answer = node.ask(log_offset=offset)
        if not answer["log_text"]:
            break
        assert answer["log_text"].endswith("\n")
        assert answer["log_offset"] - offset == len(answer["log_text"].encode()) <= training_state.CHUNK
        text, offset, asked = text + answer["log_text"], answer["log_offset"], asked + 1
    assert text == "".join(lines)
    assert offset == node.log.stat().st_size
    assert asked > 2


@pytest.mark.parametrize(("content", "offset", "expected"), [
    (b"one\ntwo\nthr", 0, ("one\ntwo\n", 8)),  # the last line is not whole yet
    (b"one\ntwo\nthr", 8, ("", 8)),
    (b"one\ntwo\n", 8, ("", 8)),  # all of it was read
    (b"one\ntwo\n", 9, ("one\ntwo\n", 8)),  # shorter than it was: another file
    (b"", 5, ("", 0)),
    (b"12345\n123456789\n", 0, ("12345\n", 6)),  # a part ends within a line
    (b"123456789\n", 0, ("123456789\n", 10)),  # a part ends with it
    (b"1234567890", 0, ("1234567890", 10)),  # a line as long as a part: no end will come
    (b"123456789012345\n", 0, ("1234567890", 10)),
    (b"123456789", 0, ("", 0)),
    (b"\xff\n", 0, ("�\n", 2)),
])
def test_parts_of_a_log(tmp_path, monkeypatch, content, offset, expected):
    monkeypatch.setattr(training_state, "CHUNK", 10)
    log = tmp_path / "train.log"
    log.write_bytes(content)
    assert training_state.read_from(str(log), offset) == expected


def test_before_there_is_a_training_user_there_are_no_runs(node):
    answer = node.ask(user="no-such-user", log_offset=0)
    assert (answer["current_run"], answer["result"], answer["log_text"], answer["active"]) == ("", {}, "", False)


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
        answer = node.ask(user="nobody", log_offset=0)
        assert (answer["current_run"], answer["result"], answer["log_text"]) == ("abc", {}, "")
        (folder / "secret").chmod(0o644)
        answer = node.ask(user="nobody", log_offset=0)
        assert (answer["result"], answer["log_text"]) == ({"status": "secret"}, "status=secret\n"), "what the user reads is shown"
    finally:
        shutil.rmtree(folder)
