"""What is left of a training on a node: found by its environment, ended, and said in words."""
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import time

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.module_utils import _processes, _remains
from ansible_collections.ascend.cluster.plugins.modules import training_remains

USER = pwd.getpwuid(os.geteuid()).pw_name
ENDS = "import time; print(flush=True); time.sleep(600)"
STAYS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.fixture
def start():
    """Starts a program with this in its environment; returns it when it runs."""
    started = []

    def begin(program, **environment):
        process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **environment}, stdout=subprocess.PIPE)
        started.append(process)
        process.stdout.readline()
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_processes_of_a_run_are_known_by_their_environment(start, tmp_path):
    ours = [start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/abc").pid, start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/abd").pid]
    start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}-other/abc")
    start(ENDS, ANOTHER=f"ASCEND_RUN_DIR={tmp_path}/abc")
    assert _remains.of_runs(str(tmp_path)) == _remains.of_runs(f"{tmp_path}/") == sorted(ours)


def test_one_that_ended_and_is_not_waited_for_does_not_live(start, tmp_path):
    process = start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/abc")
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert _remains.of_runs(str(tmp_path)) == []


def test_they_are_asked_before_they_are_killed(start, tmp_path):
    ends, stays = start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/abc"), start(STAYS, ASCEND_RUN_DIR=f"{tmp_path}/abc")
    found = _remains.end(str(tmp_path), 1.0)
    assert found["left"] == [] and len(found["ended"]) == 2
    assert any(f"{stays.pid} ({USER}: {sys.executable} -c import signal" in said for said in found["ended"])
    assert (ends.wait(), stays.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert _remains.end(str(tmp_path), 1.0) == {"ended": [], "left": []}


def test_one_that_is_ending_is_waited_for(start, tmp_path, monkeypatch):
    """Its memory is gone, and with it its environment; its files are not: it still holds its NPU."""
    process = start(STAYS, ASCEND_RUN_DIR=f"{tmp_path}/abc")
    looks = iter([[process.pid]])
    monkeypatch.setattr(_remains, "of_runs", lambda _: next(looks, []))
    assert len(_remains.end(str(tmp_path), 0.3)["ended"]) == 1
    assert not _processes.lives(process.pid)


def test_who_cannot_be_ended_is_left(start, tmp_path, monkeypatch):
    process = start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/abc")
    monkeypatch.setattr(_remains.os, "kill", lambda *_: None)
    found = _remains.end(str(tmp_path), 0.2, killed=0.2)
    monkeypatch.undo()
    assert found["ended"] == [] and found["left"][0].startswith(f"{process.pid} (")


def test_who_holds_a_device(start, tmp_path):
    (tmp_path / "davinci3").write_text("")
    (tmp_path / "davinci_manager").write_text("")
    program = f"import time; a = open('{tmp_path}/davinci3'); b = open('{tmp_path}/davinci3'); c = open('{tmp_path}/davinci_manager'); {ENDS}"
    process = start(program)
    assert _processes.holders(f"{tmp_path}/davinci") == [(process.pid, f"{tmp_path}/davinci3")]
    # What it has open is another thing than what has its path here: a container's. And what has another name there is known by itself.
    (tmp_path / "davinci3").rename(tmp_path / "davinci5")
    (tmp_path / "davinci3").write_text("")
    assert _processes.holders(f"{tmp_path}/davinci") == [(process.pid, f"{tmp_path}/davinci5")]
    (tmp_path / "davinci5").unlink()
    assert _processes.holders(f"{tmp_path}/davinci") == []


def test_a_device_is_known_by_its_number_wherever_it_lies(start, tmp_path):
    try:
        for name, minor in (("davinci1", 3), ("elsewhere", 3), ("davinci2", 5)):
            os.mknod(tmp_path / name, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("only root makes devices")
    one, same, other = (_processes._identity(tmp_path / name) for name in ("davinci1", "elsewhere", "davinci2"))
    assert one == same != other
    process = start(f"import time; a = open('{tmp_path}/davinci1'); {ENDS}")
    assert _processes.holders(f"{tmp_path}/davinci") == [(process.pid, f"{tmp_path}/davinci1")]


@pytest.mark.parametrize(("text", "verdict"), [
    (None, ""), ("{", ""), ("[]", ""), ("{}", ""), ('{"verdict": null}', ""), ('{"verdict": "stopped: asked for by anna"}', "stopped: asked for by anna")])
def test_how_the_latest_run_ended(tmp_path, text, verdict):
    (tmp_path / "abc/supervise").mkdir(parents=True)
    (tmp_path / "current").symlink_to("abc")
    if text is not None:
        (tmp_path / "abc/supervise/result.json").write_text(text)
    assert _remains.verdict(str(tmp_path)) == verdict


@pytest.fixture
def module(tmp_path, monkeypatch, capsys):
    """Ask the module; systemctl says what it is told to."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(f"#!/bin/sh\ncat {tmp_path}/state; exit 3\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    (tmp_path / "state").write_text("inactive\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(_processes.holders, "__defaults__", (f"{tmp_path}/davinci",))

    def ask(**options):
        given = {"unit": "u.service", "run_dir": f"{tmp_path}/runs", "user": USER, "grace_seconds": 1, **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            training_remains.main()
        return json.loads(capsys.readouterr().out)
    return ask


def test_nothing_is_left_and_the_words_are_empty(module):
    found = module(end=True)
    assert (found["changed"], found["words"], found["ended"], found["others"], found["verdict"]) == (False, "", [], [], "")
    assert module(user="no-such-user-of-a-test")["words"] == ""


def test_what_is_left_is_said_with_the_way_out(module, start, tmp_path):
    (tmp_path / "state").write_text("activating\n")
    (tmp_path / "davinci7").write_text("")
    process = start(f"a = open('{tmp_path}/davinci7'); {ENDS}", ASCEND_RUN_DIR=f"{tmp_path}/runs/abc")
    said = module()["words"]
    assert "u.service is activating (`systemctl status u.service` there tells why)" in said
    assert f"processes of a run live: {process.pid} ({USER}:" in said and "end them (kill)" in said
    assert f"NPUs are held: {tmp_path}/davinci7 by {process.pid}" in said
    (tmp_path / "state").write_text("failed\n")
    found = module(end=True)
    assert found["changed"] and found["words"] == "" and len(found["ended"]) == 1
    assert process.wait() == -signal.SIGTERM


def test_check_mode_ends_nothing(module, start, tmp_path):
    process = start(ENDS, ASCEND_RUN_DIR=f"{tmp_path}/runs/abc")
    found = module(end=True, _ansible_check_mode=True)
    assert not found["changed"] and str(process.pid) in found["words"]
    time.sleep(0.1)
    assert process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: that nobody else's process is ended, since this is not root")
def test_another_users_process_is_said_and_not_ended(module, start, tmp_path):
    (tmp_path / "davinci1").write_text("")
    process = start(f"a = open('{tmp_path}/davinci1'); {ENDS}", ASCEND_RUN_DIR=f"{tmp_path}/runs/abc")
    found = module(end=True, user="nobody", grace_seconds=0.1)
    assert process.poll() is None
    assert found["others"] and f"{tmp_path}/davinci1 by {process.pid} ({USER}:" in found["others"][0]
