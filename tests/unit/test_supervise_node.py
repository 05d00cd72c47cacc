"""What a supervisor reads on its node: checkpoints, the log, ranks, processes, settings; and what it keeps."""
from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import zipfile

import pytest
from supervise import checkpoints, children, kept, processes, ranks, supervisor
from supervise.checkpoints import Disk, damage
from supervise.config import Checkpoints, ConfigError, Times, load
from supervise.progress import Log

from rehearsal.fake_training import LINE
from rehearsal.supervisors import until

SHARDS = ("mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt")


def torch_file(path, size=5000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"structure")
        archive.writestr("archive/data/0", b"x" * size)
        archive.writestr("archive/data/1", b"y" * size)
        archive.writestr("archive/version", b"3\n")
    return path


def made(folder, iteration, shards=SHARDS):
    return [torch_file(folder / f"iter_{iteration:07d}" / shard) for shard in shards]


def cut(path, data):
    path.write_bytes(data[:-1])


def member_gone(path, data):
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("archive/data/1").header_offset
    path.write_bytes(data[:offset] + bytes(4096) + data[offset + 4096:])


def pickle_changed(path, data):
    path.write_bytes(data.replace(b"structure", b"structurE", 1))


@pytest.mark.parametrize(("how", "words"), [
    (cut, "it is cut off or damaged"), (member_gone, "archive/data/1 in it is damaged"), (pickle_changed, "Bad CRC-32"),
    (lambda path, data: path.write_bytes(data[:len(data) // 2]), "it is cut off or damaged"), (lambda path, data: path.write_bytes(b""), "it is cut off"),
    (lambda path, data: path.write_bytes(bytes(len(data))), "it is cut off"), (lambda path, data: path.unlink(), "it is missing"),
    (lambda path, data: (path.unlink(), path.mkdir()), "it cannot be read (Is a directory)")])
def test_a_file_that_is_not_whole(tmp_path, how, words):
    path = torch_file(tmp_path / "a.pt")
    assert damage(str(path)) == ""
    how(path, path.read_bytes())
    assert words in damage(str(path))


def test_another_zip_archive_is_none_of_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme", b"x")
    assert damage(str(tmp_path / "a.pt")) == "it is no file of torch.save"


def test_whole_ones_and_what_the_others_lack(tmp_path):
    disk = Disk(Checkpoints(str(tmp_path), SHARDS))
    assert disk.look() == ([], {}, 0, 0)
    whole = made(tmp_path, 5)
    made(tmp_path, 10)[1].write_bytes(b"half")
    made(tmp_path, 15, SHARDS[:1])
    (tmp_path / "iter_0000020.old").mkdir()
    found = disk.look()
    assert found.whole == [5] and found.size == sum(path.stat().st_size for path in whole)
    assert list(found.lacking) == ["10", "15"] and found.lacking["15"] == "mp_rank_01/model_optim_rng.pt: it is missing"
    assert "mp_rank_01/model_optim_rng.pt: it is cut off" in found.lacking["10"]
    assert disk.look().saved == found.saved > 0
    torch_file(tmp_path / "iter_0000010" / SHARDS[1])  # the save goes on
    assert disk.look().whole == [5, 10] and disk.look().saved < found.saved


def test_older_ones_are_looked_at_until_one_can_be_gone_on_from(tmp_path):
    for iteration in range(50, 350, 50):
        made(tmp_path, iteration)
    assert Disk(Checkpoints(str(tmp_path), SHARDS)).look().whole == [150, 200, 250, 300]
    assert Disk(Checkpoints(str(tmp_path), SHARDS), resume=100).look().whole == [100, 150, 200, 250, 300]
    for iteration in range(150, 350, 50):
        (tmp_path / f"iter_{iteration:07d}" / SHARDS[0]).write_bytes(b"half")
    assert Disk(Checkpoints(str(tmp_path), SHARDS)).look().whole == [100]


def test_a_flipped_bit_in_the_directory_is_damage(tmp_path):
    path = made(tmp_path, 5)[0]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"data.pkl")] = 0xFF
    at = data.index(b"PK\x01\x02")
    while at >= 0:  # names in UTF-8, as torch says of all of its
        data[at + 9] |= 0x08
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    assert "cut off or damaged" in damage(str(path))


def test_a_node_that_needs_no_file_has_no_say(tmp_path):
    made(tmp_path, 5)
    assert Disk(Checkpoints(str(tmp_path))).look().whole is None
    assert Disk(Checkpoints()).look().whole is None and Disk(Checkpoints()).free() is None


def test_files_of_the_old_format_are_compared(tmp_path):
    def legacy(iteration, size):
        path = tmp_path / f"iter_{iteration:07d}" / SHARDS[0]
        path.parent.mkdir(parents=True)
        path.write_bytes(checkpoints._LEGACY + bytes(size))

    disk = Disk(Checkpoints(str(tmp_path), SHARDS[:1]))
    legacy(5, 5000)
    assert disk.look().whole == [] and "nothing to compare its size with" in disk.look().lacking["5"]
    legacy(10, 5010)
    assert disk.look().whole == [5, 10]
    legacy(15, 2500)
    assert disk.look().whole == [5, 10] and "smaller than that of another" in disk.look().lacking["15"]


def test_pruning_keeps_what_it_must(tmp_path):
    for iteration in (5, 10, 15):
        made(tmp_path, iteration)
    disk = Disk(Checkpoints(str(tmp_path), SHARDS, keep=2))
    assert disk.prune(0, [5, 10, 15]) == [] and disk.prune(10, [5, 15]) == []
    assert disk.iterations() == [5, 10, 15]
    assert disk.prune(10, [5, 10, 15]) == [5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iter_0000010", "iter_0000015"]


def test_room_for_two(tmp_path, monkeypatch):
    monkeypatch.setattr(Disk, "free", lambda self: 1_500_000_000)
    disk = Disk(Checkpoints(str(tmp_path), SHARDS, bytes=10**9))
    assert disk.no_room(disk.look()) == (f"{tmp_path} has 1.5 GB free, expected 2.0 GB for two checkpoints: make room, or let fewer be kept "
                                         "(pretrain_keep_checkpoints)")
    made(tmp_path, 5)
    assert disk.no_room(disk.look()) == ""
    assert "2.0 GB for one checkpoint more" in Disk(Checkpoints(str(tmp_path), SHARDS, bytes=2 * 10**9)).no_room(disk.look())
    assert Disk(Checkpoints(str(tmp_path), SHARDS)).no_room(disk.look()) == "", "as large as the one that is there"


def test_the_free_room_of_a_folder_to_come(tmp_path):
    assert Disk(Checkpoints(str(tmp_path / "a" / "b"), SHARDS)).free() == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)


def test_the_tracker(tmp_path):
    disk = Disk(Checkpoints(str(tmp_path), SHARDS))
    disk.track(10)
    assert (tmp_path / checkpoints.TRACKER).read_text() == "10" and len(list(tmp_path.iterdir())) == 1
    disk.track(5)
    assert (tmp_path / checkpoints.TRACKER).read_text() == "5"


# the log

def line(iteration):
    return LINE.format(iteration, 100, 5.0, 6.5)


def test_a_log_is_read_as_it_grows(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(line(1))  # of an earlier start
    log = Log(str(path))
    assert log.read() == []
    with path.open("a") as file:
        file.write(line(2) + "noise\n" + line(3)[:50])
    assert log.read() == [[2, 100, 6.5, 1.0, 5.0, 0, 0]]
    with path.open("a") as file:
        file.write(line(3)[50:])
    assert [one[0] for one in log.read()] == [3] and log.read() == []
    os.replace(path, tmp_path / "aside")
    assert log.read() == []
    path.write_text(line(1))
    assert [one[0] for one in log.read()] == [1]


def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path):
    log = Log(str(tmp_path / "train.log"))
    (tmp_path / "train.log").write_text(line(1))
    assert [one[0] for one in log.read()] == [1]


# ranks

def record(folder, rank, **more):
    (folder / "failures").mkdir(exist_ok=True)
    (folder / "failures" / f"rank{rank}.json").write_text(json.dumps({"rank": rank, "local_rank": rank, "time": 1.0, "status": 1, **more}))


def test_the_first_exception_of_a_node(tmp_path):
    assert ranks.failed(str(tmp_path), {}) is None
    record(tmp_path, 2, status=0, type="SystemExit")  # left by itself
    assert ranks.failed(str(tmp_path), {}) is None
    record(tmp_path, 1, time=2.0, type="KeyError", message="'lost'", where="a.py:7 in f")
    record(tmp_path, 3, time=1.5, type="ValueError", message="x")
    assert ranks.failed(str(tmp_path), {}) == {"rank": 3, "reason": "rank 3 (local 3) failed: ValueError: x"}
    (tmp_path / "failures" / "rank3.json").write_text("{")
    assert ranks.failed(str(tmp_path), {})["reason"] == "rank 1 (local 1) failed: KeyError: 'lost' at a.py:7 in f"


@pytest.fixture
def ended():
    """Starts a process and ends it by a signal; it stays a zombie, as torchrun's ranks do until it looks."""
    started = []

    def end(number):
        process = subprocess.Popen(["sleep", "1000"])
        started.append(process)
        process.send_signal(number)
        until(lambda: processes.stat(process.pid).state == "Z", "a zombie")
        return process.pid

    yield end
    for process in started:
        process.wait()


def gone():
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_rank_that_a_signal_killed_is_known_before_anybody_waits_for_it(tmp_path, ended):
    known = {0: ended(signal.SIGKILL)}
    assert ranks.failed(str(tmp_path), known) == {"rank": 0, "reason": f"rank 0 (pid {known[0]}) was killed by SIGKILL"}
    record(tmp_path, 1, type="RuntimeError", message="connection closed by peer")
    assert ranks.failed(str(tmp_path), known)["rank"] == 0


def test_a_rank_that_torchrun_ended_is_not_the_one_that_failed(tmp_path, ended):
    other = {1: ended(signal.SIGTERM)}
    # Who sent it is not known: torchrun's own words are waited for.
    assert ranks.failed(str(tmp_path), {**other, 0: os.getpid()}) is None
    # One that torchrun has waited for already.
    lost = gone()
    assert ranks.failed(str(tmp_path), {**other, 0: lost}) == {
        "rank": 0, "reason": f"rank 0 (pid {lost}) ended without a word (killed?), and torchrun stopped the others"}
    assert ranks.failed(str(tmp_path), {**other, 0: lost, 2: gone()}) is None
    record(tmp_path, 0, status=0, type="SystemExit")  # it had left by itself
    assert ranks.failed(str(tmp_path), {**other, 0: lost}) is None
    record(tmp_path, 1, type="RuntimeError", message="x")
    assert ranks.failed(str(tmp_path), {**other, 0: lost})["rank"] == 1


def test_a_rank_that_torchrun_had_to_kill_is_not_named(tmp_path, ended):
    lost, stubborn = gone(), ended(signal.SIGKILL)
    assert ranks.failed(str(tmp_path), {0: lost, 1: stubborn}) == {
        "rank": None, "reason": f"rank 1 (pid {stubborn}) was killed by SIGKILL, after rank 0 (pid {lost}) had ended without a word"}
    assert ranks.failed(str(tmp_path), {0: lost, 1: ended(signal.SIGSEGV)})["rank"] == 1


def test_what_torchrun_and_the_script_say(tmp_path):
    assert ranks.torchrun_says(str(tmp_path)) is None and ranks.last_words(str(tmp_path), str(tmp_path / "none")) == ""
    (tmp_path / "train.log").write_text(
        "[1]:\n  rank      : 4 (local_rank: 0)\n  exitcode  : 1 (pid: 7)\nRoot Cause (first observed failure):\n[0]:\n  time      : x\n"
        "  host      : h\n  rank      : 5 (local_rank: 1)\n  exitcode  : -9 (pid: 8)\n")
    assert ranks.torchrun_says(str(tmp_path)) == {"rank": 5, "reason": "rank 5 (local 1) was killed by SIGKILL"}
    (tmp_path / "stderr").write_text("a\npretrain: refused\n")
    assert ranks.last_words(str(tmp_path), str(tmp_path / "stderr")) == "pretrain: refused"
    (tmp_path / "result").write_text("status=failed\nreason=torchrun exited 1\n")
    assert ranks.last_words(str(tmp_path), str(tmp_path / "stderr")) == "torchrun exited 1"


def test_stacks_are_cut_to_the_main_thread():
    frames = "".join(f'  File "f{number}.py", line {number} in g\n' for number in range(40))
    text = f'Thread 0x01 (most recent call first):\n  File "other.py", line 1 in h\n\nCurrent thread 0x02 (most recent call first):\n{frames}'
    cut_down = ranks.main_threads({3: {"stack": text, "state": "sleeping"}, 4: {"stack": "", "state": "gone"}})
    assert cut_down["4"] == {"stack": "", "state": "gone"}
    assert [(file, number) for file, number, _ in ranks.main_thread(cut_down["3"]["stack"])] == [(f"f{number}.py", number) for number in range(12)]


# processes

def test_who_holds_a_device(tmp_path):
    with (tmp_path / "davinci3").open("w"), (tmp_path / "davinci_manager").open("w"):
        assert processes.holders(str(tmp_path / "davinci")) == [(os.getpid(), str(tmp_path / "davinci3"))]
    assert processes.holders(str(tmp_path / "davinci")) == []


PROOF = """
import asyncio, os, subprocess, sys
sys.path.insert(0, {folder!r})
from supervise import processes
from supervise.children import Children, descendants, sweep
async def main():
    children = Children()
    # A grandchild in a session of its own, whose parent ends: adopted, and a process that was somebody else's child all along.
    pid, ended = children.start(["sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & exit 3"], None, None, subprocess.DEVNULL)
    assert await ended == 3
    while len(descendants()) < 3:
        await asyncio.sleep(0.02)
    assert processes.marked("MARK={mark}") == [{marked}]
    print(await sweep("MARK={mark}"))
    print(len(descendants()), processes.marked("MARK={mark}"))
    print(await children.run(["sh", "-c", "echo a; echo b >&2; exit 4"], 60))
    print(await children.run(["sleep", "1000"], 0.1))
    print(await children.run(["/nonexistent"], 1))
asyncio.run(main())
"""


def test_nothing_is_left_below(tmp_path):
    from rehearsal.supervisors import PROGRAM, PYTHON

    mark = os.urandom(6).hex()
    other = subprocess.Popen(["sleep", "1000"], env={"MARK": mark})
    try:
        code = PROOF.format(folder=str(PROGRAM.parent), mark=mark, marked=other.pid)
        done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines() == [
            "[]", "0 []", "(4, 'b')", "(124, 'not done after 0.1 s')", "(127, '/nonexistent: No such file or directory')"], done.stderr
        assert other.wait() == -signal.SIGKILL
    finally:
        other.kill()


@pytest.mark.parametrize(("state", "note", "goes"), [
    ("stopping", False, True), ("running", True, False), ("degraded", False, False), ("unknown", False, False), ("unknown", True, True),
    ("Failed to query system state: Transport endpoint is not connected", True, True), ("offline", False, False)])
def test_whether_the_machine_shuts_down(monkeypatch, tmp_path, state, note, goes):
    monkeypatch.setattr(supervisor, "NO_LOGIN", str(tmp_path / "nologin"))
    if note:
        (tmp_path / "nologin").touch()
    assert supervisor.shuts_down(state) is goes


JOB = """
import asyncio, sys
sys.path.insert(0, {folder!r})
from supervise import processes
from supervise.children import Children
from supervise.config import Config
from supervise.job import Job
async def main():
    run = {run!r}
    job = Job(Config("r1", "n0", ("n0",), "", "", 1, 6000, "", run, ("/bin/sh", "-c", "sleep 1000; true")), Children())
    job.start(0, 6000, None)
    while len(processes.marked("ASCEND_RUN_DIR=" + run)) < 2:
        await asyncio.sleep(0.02)
    print(await job.sweep(), processes.marked("ASCEND_RUN_DIR=" + run))
asyncio.run(main())
"""


def test_all_that_the_script_begins_is_known_by_its_run(tmp_path):
    from rehearsal.supervisors import PROGRAM, PYTHON

    (tmp_path / "supervise").mkdir()
    code = JOB.format(folder=str(PROGRAM.parent), run=str(tmp_path))
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout == "[] []\n", done.stderr


def test_what_does_not_end_is_named(monkeypatch):
    monkeypatch.setattr(children, "descendants", lambda: [os.getpid()])
    monkeypatch.setattr(children, "send", lambda pid, number: None)
    left = asyncio.run(children.sweep("NO=SUCH", 0.1))
    assert len(left) == 1 and left[0].startswith(f"{os.getpid()} (") and ", state " in left[0]


# settings, and what is kept

SETTINGS = {"version": 1, "run": "r", "node": "n1", "nodes": ["n0", "n1"], "address": "192.0.2.2", "hub": "192.0.2.1", "port": 6016, "master_port": 6000,
            "token_file": "t", "run_dir": "/r", "command": ["bash", "s.sh"], "times": {"lost": 9}, "checkpoints": {"folder": "/c", "shards": ["a"]}}


def test_settings(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SETTINGS))
    found = load(str(path))
    assert found.times == Times(lost=9) and found.checkpoints.shards == ("a",) and found.max_restarts == 0 and not found.is_master
    assert found.folder == "/r/supervise"


@pytest.mark.parametrize(("change", "words"), [
    ({"version": 2}, "is not of version 1"), ({"port": "6016"}, "port is '6016', expected int"), ({"port": True}, "port is True, expected int"),
    ({"times": {"lots": 3}}, "unknown key times.lots; known are backoff, beat"), ({"times": {"lost": "9"}}, "times.lost is '9', expected float"),
    ({"times": 3}, "times. holds 3, expected an object of keys"), ({"command": "bash"}, "command is 'bash', expected a list of words"),
    ({"command": []}, "command is empty"), ({"node": "n7"}, "expected each once, and n7 (node) among them"), ({"run": None}, "run is None, expected str"),
    ({"max_restarts": -1}, "max_restarts is -1"), ({"stop_saves": 1}, "stop_saves is 1, expected bool")])
def test_settings_that_are_wrong(tmp_path, change, words):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SETTINGS, **change}))
    with pytest.raises(ConfigError) as error:
        load(str(path))
    assert words in str(error.value) and str(path) in str(error.value)


def test_settings_that_are_missing(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path))
    path.write_text(json.dumps({key: value for key, value in SETTINGS.items() if key != "hub"}))
    with pytest.raises(ConfigError, match="'hub' is missing"):
        load(str(path))


def test_what_is_kept_appears_whole(tmp_path):
    path = tmp_path / "state.json"
    assert kept.read(str(path)) == {}
    kept.write(str(path), {"generation": 3})
    assert kept.read(str(path)) == {"generation": 3} and [one.name for one in tmp_path.iterdir()] == ["state.json"]
    path.write_text("{")
    assert kept.read(str(path)) == {}
    path.write_text("[]")
    assert kept.read(str(path)) == {}
    kept.append(str(tmp_path / "journal"), [{"a": 1}, {"a": 2}])
    kept.append(str(tmp_path / "journal"), [{"a": 3}])
    assert [json.loads(text)["a"] for text in (tmp_path / "journal").read_text().splitlines()] == [1, 2, 3]


def test_the_program_says_how_to_use_it():
    from rehearsal.supervisors import PROGRAM

    done = subprocess.run([sys.executable, str(PROGRAM), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ask status CONFIG" in done.stdout
