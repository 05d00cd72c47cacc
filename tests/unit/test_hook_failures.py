"""The hook that keeps how a rank ended, in real processes."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "roles" / "ascendspeed" / "files"
BEGIN = (f"import os, sys\nsys.path.insert(0, {str(HOOKS)!r})\nsys.dont_write_bytecode = True\n"
         "import ascend_cluster_hooks\nascend_cluster_hooks.install('failures')\n")


@pytest.fixture
def rank(tmp_path):
    """Run a script as global rank 11; returns the finished process and its record, or None."""
    def run(script, **environment):
        environment = {**os.environ, "RANK": "11", "LOCAL_RANK": "3", "ASCEND_RUN_DIR": str(tmp_path), **environment}
        done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=False, env=environment, timeout=60)
        path = tmp_path / "failures" / "rank11.json"
        return done, json.loads(path.read_text()) if path.exists() else None

    return run


def test_an_exception_is_recorded_and_still_printed(rank):
    before = time.time()
    done, record = rank("def f():\n    raise KeyError('lost')\nf()\n")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'lost'")
    assert before <= record.pop("time") <= time.time()
    assert record == {"rank": 11, "local_rank": 3, "kind": "exception", "type": "KeyError", "message": "'lost'", "where": "<string>:7 in f", "status": 1}


def test_the_hook_that_was_there_before_is_called(rank):
    done, record = rank("raise ValueError('x' * 9999)", PYTHONSTARTUP="")
    assert "ValueError" in done.stderr and len(record["message"]) == 4000
    code = "sys.excepthook = lambda *words: print('mine', words[0].__name__)\nascend_cluster_hooks.install('failures')\nraise OSError\n"
    done, record = rank(code)
    assert done.stdout.endswith("mine OSError\n") and record["type"] == "OSError"


@pytest.mark.parametrize(("status", "code", "message", "returned"), [("", None, "", 0), ("0", 0, "0", 0), ("3", 3, "3", 3), ("'gone'", 1, "gone", 1)])
def test_a_call_of_sys_exit_is_recorded(rank, status, code, message, returned):
    done, record = rank(f"def f():\n    sys.exit({status})\nf()\n")
    assert done.returncode == returned
    assert (record["kind"], record["status"], record["message"], record["where"]) == ("exit", code, message, "<string>:7 in f")


def test_a_normal_end_leaves_nothing(rank):
    done, record = rank("print('done')")
    assert done.returncode == 0
    assert record is None
    assert "> hook failures:" not in done.stdout, "only global rank 0 logs"


def test_children_are_not_this_rank(rank):
    _, record = rank("if os.fork() == 0:\n    sys.exit(5)\nos.wait()\nif os.fork() == 0:\n    raise KeyError\nos.wait()\n")
    assert record is None


def test_without_a_run_nothing_is_kept(rank, tmp_path):
    done, record = rank("raise KeyError", ASCEND_RUN_DIR="", RANK="0")
    assert "ASCEND_RUN_DIR is not set" in done.stdout
    assert done.returncode == 1 and record is None and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_hides_no_exception(rank, tmp_path):
    done, record = rank(f"import shutil\nshutil.rmtree({str(tmp_path / 'failures')!r})\nraise KeyError('lost')\n")
    assert record is None
    assert "rank11.json cannot be written" in done.stderr
    assert done.stderr.rstrip().endswith("KeyError: 'lost'")


def test_a_crash_in_a_library_shows_its_stack(rank):
    done, record = rank("import ctypes\nctypes.string_at(0)\n")
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert record is None
