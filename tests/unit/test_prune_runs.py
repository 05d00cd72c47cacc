"""Old runs go by number and size, the present one's own files and links never."""
import os
import subprocess
import sys
from pathlib import Path

import prune_runs
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles/pretrain/files/prune_runs.py"
KIB = 1024


@pytest.fixture
def folder(tmp_path):
    """Runs 1 (the oldest) to 5, each with a log of 4 KiB and two earlier tries of 2 KiB each (log and ranks); and what is no run."""
    for number in range(1, 6):
        run = tmp_path / "runs" / f"{number:012x}"
        for index, when in enumerate(("20260101T000000Z", "20260102T000000Z")):
            (run / f"ranks.{when}" / "0").mkdir(parents=True)
            (run / f"ranks.{when}" / "0" / "stderr.log").write_text("x" * KIB)
            (run / f"train.{when}.log").write_text("x" * KIB)
            for path in (run / f"ranks.{when}", run / f"train.{when}.log"):
                os.utime(path, (number * 1000 + index * 10,) * 2)
        (run / "train.log").write_text("x" * 4 * KIB)
        os.utime(run / "train.log", (number * 1000 + 100,) * 2)
        log = tmp_path / "logs" / run.name / "node1.log"
        log.parent.mkdir(parents=True)
        log.write_text("x")
    (tmp_path / "logs" / f"{1:012x}" / "node2.log").write_text("x")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "lock").write_text("")
    (tmp_path / "runs" / "current").symlink_to(f"{1:012x}")
    (tmp_path / "runs" / f"{9:012x}").symlink_to(tmp_path / "logs")
    return tmp_path


def prune(folder, *words, present=5):
    done = subprocess.run([sys.executable, str(PROGRAM), *map(str, words), "--logs", str(folder / "logs"), "--node", "node1",
                           str(folder / f"runs/{present:012x}")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    left = sorted(path.name for path in (folder / "runs").iterdir())
    assert {"notes", "lock", "current", f"{9:012x}"} <= set(left), "what is no run was removed"
    assert (folder / "logs").is_dir()
    assert all((folder / f"runs/{number:012x}/train.log").exists() for number in (present,))
    return done.stdout, [int(name, 16) for name in left if len(name) == 12 and name != f"{9:012x}"], {
        int(run.name, 16): sorted(path.name for path in run.glob("train.2*.log")) for run in (folder / "runs").glob("0*[1-8]")}


def test_nothing_goes_without_limits(folder):
    said, left, _ = prune(folder, "--keep", 0, "--gib", 0)
    assert (said, left) == ("", [1, 2, 3, 4, 5])


def test_runs_go_by_number_the_oldest_first_and_their_log_with_them(folder):
    said, left, _ = prune(folder, "--keep", 3)
    assert left == [3, 4, 5]
    assert "removed run 000000000001" in said and "pretrain_keep_runs" in said
    assert not (folder / f"logs/{2:012x}").exists()
    assert [path.name for path in (folder / f"logs/{1:012x}").iterdir()] == ["node2.log"], "another node's log is not ours"


def test_the_present_run_stays_however_old_it_is(folder):
    _, left, _ = prune(folder, "--keep", 1, present=1)
    assert left == [1]


def test_earlier_tries_go_by_number(folder):
    _, left, earlier = prune(folder, "--keep", 1)
    assert left == [5]
    assert earlier == {5: ["train.20260102T000000Z.log"]}
    assert not (folder / f"runs/{5:012x}/ranks.20260101T000000Z").exists()


def test_by_size_the_oldest_goes_first_tries_before_their_run(folder):
    # Of 40 KiB 2 + 2 + 4 are the oldest run's, 2 the next one's oldest try.
    _, left, earlier = prune(folder, "--gib", 30 * KIB / 2**30)
    assert left == [2, 3, 4, 5]
    assert earlier[2] == ["train.20260102T000000Z.log"]
    assert all(len(earlier[number]) == 2 for number in (3, 4, 5))


def test_by_size_the_newest_try_of_the_present_run_stays(folder):
    _, left, earlier = prune(folder, "--gib", 1 / 2**30)
    assert left == [5]
    assert earlier == {5: ["train.20260102T000000Z.log"]}


def test_links_in_a_run_are_removed_and_not_followed(folder):
    (folder / "kept").mkdir()
    (folder / "kept/file").write_text("x")
    (folder / f"runs/{1:012x}/ranks").symlink_to(folder / "kept")
    _, left, _ = prune(folder, "--keep", 2)
    assert left == [4, 5]
    assert (folder / "kept/file").exists()


def test_what_cannot_be_removed_is_said_and_is_no_reason_to_stop(folder, monkeypatch, capsys):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(prune_runs.shutil, "rmtree", refuse)
    assert prune_runs.main(["--keep", "4", str(folder / f"runs/{5:012x}")]) == 1
    assert "run 000000000001 could not be removed: [Errno 13] Permission denied" in capsys.readouterr().out
