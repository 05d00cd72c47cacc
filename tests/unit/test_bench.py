"""What `make bench` says and how it judges; and the format that its baselines write."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from bench import __main__ as driver
from bench import data, indexed, machine, process, report

UPSTREAM = report.Timing((27.0, 27.4, 29.0), (40.0, 41.0, 44.0))
OURS = report.Timing((2.5, 2.3, 2.2), (4.0, 3.9, 3.8))


def ratio(theirs: float, ours: float, limit: float | None = 10) -> report.Ratio:
    return report.Ratio("upstream's way", report.Timing((theirs,)), report.Timing((ours,)), limit, "52,002 rows")


def test_ratio_is_that_of_the_medians_and_the_spread_that_of_the_rounds() -> None:
    made = report.Ratio("upstream's way", UPSTREAM, OURS, 10, "52,002 rows")
    assert made.value == pytest.approx(27.4 / 2.3)
    assert made.spread == (pytest.approx(27.0 / 2.5), pytest.approx(29.0 / 2.2))
    assert str(made) == "preprocess 52,002 rows: 11.9x upstream's way (27.4 s / 2.3 s; 10.8x to 13.1x in 3 rounds), limit 10x: ok"


def test_a_ratio_below_its_limit_is_missed_and_never_rounded_up() -> None:
    assert str(ratio(9.99, 1)).endswith("(10.0 s / 1.0 s; 9.9x to 9.9x in 1 round), limit 10x: MISSED")
    assert str(ratio(10, 1)).endswith("limit 10x: ok")
    assert str(ratio(1, 1, None)).endswith("not judged")
    assert report.times(4.3 / 0.1) == "43.0x"


def test_status_needs_every_ratio() -> None:
    assert report.status([ratio(10, 1), ratio(50, 1)]) == 0
    assert report.status([ratio(50, 1), ratio(9, 1)]) == 1
    assert report.status([ratio(1, 1, None)]) == 0


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_worker_counts_end_with_all_cores(cores: int, counts: list[int]) -> None:
    assert report.worker_counts(cores) == counts


def test_table_has_a_line_a_way() -> None:
    ways = [report.Way("upstream's way", "4 processes", UPSTREAM), report.Way("this project", "`--workers 2`", OURS)]
    assert report.table(ways, 52002, 5200000, OURS).splitlines()[2:] == [
        "| upstream's way | 4 processes | 27.40 | 27.00 to 29.00 | 41.00 | 1,898 | 0.19 | 11.9 |",
        "| this project | `--workers 2` | 2.30 | 2.20 to 2.50 | 3.90 | 22,610 | 2.26 | 1.0 |"]


def test_between_replaces_only_what_stands_between_its_markers() -> None:
    text = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb <!-- bench-memory --><!-- /bench-memory -->\n"
    assert report.between(text, "bench", "new") == text.replace("\nold\n", "\n\nnew\n\n")
    assert report.between(report.between(text, "bench", "x"), "bench", "new") == report.between(text, "bench", "new")
    for broken in ("", "<!-- bench -->", "<!-- /bench --><!-- bench -->", text + "<!-- bench -->"):
        with pytest.raises(ValueError, match="expected one <!-- bench --> and one <!-- /bench --> after it"):
            report.between(broken, "bench", "new")


def test_the_document_has_all_markers() -> None:
    text = driver.DOCUMENT.read_text(encoding="utf-8")
    for name in ("bench", "bench-rows", "bench-memory"):
        assert "new" in report.between(text, name, "new")
    assert driver.PLOT.name in text


HELP = """
  --chunk-mib CHUNK_MIB
                        MiB of text at a time
                        (default: 4)
  --log-interval LOG_INTERVAL  (default: 10000)
Expect at most

    350 MiB + workers x (250 MiB + 16 x chunk) + 12 bytes a document
"""


def test_the_bound_is_read_from_the_help() -> None:
    assert report.stated_bound(HELP, 2, 1000) == (350 + 2 * (250 + 16 * 4)) * report.MIB + 12000
    for broken in (HELP.replace("16 x chunk", "much"), HELP.replace("(default: 4)", "")):
        with pytest.raises(ValueError, match="states no bound of memory in the known form"):
            report.stated_bound(broken, 2, 1000)


def test_the_program_states_a_bound() -> None:
    made = subprocess.run([sys.executable, driver.PROGRAM, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    assert report.stated_bound(made.stdout, 2, 0) > 100 * report.MIB


def test_memory_is_judged_by_the_bound() -> None:
    line = report.memory_line(2_000_000_000, 900 * report.MIB, 700 * report.MIB, 1024 * report.MIB, 61.0)
    assert line == ("preprocess 2.00 GB of text: peak memory 900 MiB of all processes, 700 MiB of it no pages of files, 61 s, "
                    "bound 1,024 MiB: ok")
    assert report.memory_line(1, 1025 * report.MIB, 0, 1024 * report.MIB, 1).endswith("bound 1,024 MiB: MISSED")


def test_proc_files_are_read() -> None:
    assert process.session_of("7 (a) b) (c) S 1 7 42 0 -1") == 42
    rollup = "55-66 ---p 0 00:00 0 [rollup]\nRss: 90 kB\nPss: 50 kB\nPss_Dirty: 9 kB\nPss_Anon: 30 kB\nPss_File: 15 kB\nPss_Shmem: 5 kB\n"
    assert process.proportional(rollup) == (50 * 1024, 35 * 1024)
    assert machine.processor("processor\t: 0\nmodel name\t: AMD EPYC\n") == "AMD EPYC"
    assert machine.processor("CPU implementer\t: 0x48\n") == "a processor that names no model"
    assert machine.memory("MemTotal:       25165824 kB\nMemFree: 1 kB\n") == "24 GiB"


def test_memory_of_the_whole_tree_is_seen(tmp_path: Path) -> None:
    child = "import sys, time; kept = b'x' * (64 << 20); print('there', flush=True); sys.stdin.read()"
    program = ("import subprocess, sys, time\n"
               f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
               "child.stdout.readline()\ntime.sleep(1)\nchild.communicate(b'')\n")
    ran = process.run([sys.executable, "-c", program], tmp_path / "log", tmp_path, os.environ, sample=0.02)
    assert ran.peak >= ran.anonymous > 64 << 20
    assert ran.seconds > 1
    assert ran.processor > 0


def test_a_way_that_fails_is_told_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(process.RunError, match=r"(?s)ended with status 3:.*no such thing"):
        process.run([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path / "log", tmp_path, os.environ)


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getpid()):
        (tmp_path / f"run.{pid}.abc").mkdir()
    driver.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"run.{os.getpid()}.abc"]


def write(prefix: Path, documents: list[list[int]], dtype: str = "uint16") -> Path:
    builder = indexed.Builder(str(prefix), dtype)
    for ids in documents:
        builder.add(ids)
    builder.finish()
    return prefix


def test_files_are_those_of_the_format(tmp_path: Path) -> None:
    prefix = write(tmp_path / "a", [[1, 2, 3], [4]])
    assert (tmp_path / "a.bin").read_bytes().hex() == "0100020003000400"
    assert (tmp_path / "a.idx").read_bytes().hex() == (
        "4d4d494449445800000100000000000000080200000000000000" "0300000000000000" "03000000" "01000000"
        "0000000000000000" "0600000000000000" "0000000000000000" "0100000000000000" "0200000000000000")
    made = indexed.Dataset(prefix)
    assert [made.document(0), made.document(1)] == [[1, 2, 3], [4]]
    assert (indexed.dtype_for(65499), indexed.dtype_for(65500)) == ("uint16", "int32")


@pytest.mark.parametrize(("documents", "dtype", "why"), [
    ([[1, 2, 3], [5]], "uint16", r"document 1 has \[5\] and \[4\] from id 0 on"), ([[1, 2, 3]], "uint16", "1 and 2 documents"),
    ([[1, 2], [3, 4]], "uint16", r"document 0 has \[\] and \[3\] from id 2 on"), ([[1, 2, 3], [4]], "int32", "stored as int32 and uint16")])
def test_a_difference_is_seen_and_told(tmp_path: Path, documents: list[list[int]], dtype: str, why: str) -> None:
    right, wrong = write(tmp_path / "right", [[1, 2, 3], [4]]), write(tmp_path / "wrong", documents, dtype)
    assert indexed.digest(right) == indexed.digest(write(tmp_path / "same", [[1, 2, 3], [4]]))
    assert indexed.digest(wrong) != indexed.digest(right)
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(indexed.difference(wrong, right))


def test_a_dataset_cut_short_is_refused(tmp_path: Path) -> None:
    prefix = write(tmp_path / "a", [[1, 2, 3], [4]])
    os.truncate(tmp_path / "a.bin", 6)
    with pytest.raises(ValueError, match=r"a\.bin holds 3 ids, a\.idx promises 4"):
        indexed.Dataset(prefix)
    os.truncate(tmp_path / "a.idx", 50)
    with pytest.raises(ValueError, match=r"a\.idx is 50 bytes long, expected 82"):
        indexed.Dataset(prefix)


@pytest.mark.parametrize(("at", "why"), [(-8, "bounds of documents"), (34 + 8 + 8, "byte offsets that are not the sums")])
def test_an_index_of_other_offsets_or_bounds_is_refused(at: int, why: str, tmp_path: Path) -> None:
    prefix = write(tmp_path / "a", [[1, 2, 3], [4]])
    content = bytearray((tmp_path / "a.idx").read_bytes())
    content[at] ^= 1
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        indexed.Dataset(prefix)


def test_a_wrong_result_ends_a_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = driver.Bench(tmp_path / "in", tmp_path / "tokenizer", tmp_path)
    results = iter([[[1, 2]], [[1, 2]], [[1, 3]]])

    def run(_argv: object, log: Path, *_rest: object) -> process.Run:
        write(log.parent / "out", next(results))
        return process.Run(0.5, "")

    monkeypatch.setattr(process, "run", run)
    assert [made.time(driver.UPSTREAM, 4).seconds, made.time(driver.BATCHED).seconds, made.tokens] == [0.5, 0.5, 2]
    with pytest.raises(driver.WrongError, match=r"the batched encode and upstream's way wrote different files: document 0"):
        made.time(driver.BATCHED)


def test_a_big_file_repeats_rows_in_other_words(tmp_path: Path) -> None:
    texts = ["Below is a Bcd\n", "", "vwt ## 42."]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "in")
    size = sum(map(len, texts))
    assert data.make_big(tmp_path / "in", tmp_path / "out", 3 * size) == (9, 3 * size)
    found = pyarrow.parquet.read_table(tmp_path / "out").column("text").to_pylist()
    assert found[:3] == texts
    assert len(set(found)) == 7
    assert [len(text) for text in found] == [len(text) for text in texts] * 3
    assert pyarrow.parquet.ParquetFile(tmp_path / "out").num_row_groups == 3
    assert data.make_big(tmp_path / "in", tmp_path / "out", 0, rows=4) == (6, 2 * size)


def test_environment_is_free_of_what_changes_the_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    made = driver.Bench(tmp_path, tmp_path, tmp_path).environment()
    assert not [name for name in made if name.startswith(("RAYON", "TOKENIZERS"))]
    assert made["HF_HOME"].startswith(str(tmp_path))
