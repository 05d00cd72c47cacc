"""The preprocessor as a program: its processes, reruns, and what it refuses."""
from __future__ import annotations

import contextlib
import gzip
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from preprocess_data import messages, pieces
from preprocess_data.files import alone_in
from preprocess_data.messages import PreprocessError
from preprocess_data.sources import Source
from preprocess_data.tokenizer import Encoder, load_encoder
from tokenizers import Tokenizer

from tests.unit.preprocess_tools import PROGRAM, csv_file, files, jsonl, mixtral_like, names, parquet, program, read, run, variant, write_tokenizer

ROOT = Path(__file__).parents[2]
# A few bytes in the middle are gone: an invalid block.
DAMAGED_GZIP = gzip.compress(b"text,more\n" + bytes(range(32, 127)) * 40, mtime=0)
DAMAGED_GZIP = DAMAGED_GZIP[:30] + b"\xff" * 40 + DAMAGED_GZIP[70:]
WHOLE = {f"a_text_document.{end}" for end in ("bin", "idx", "manifest.json")}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), mixtral_like())


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Tests that run in the background inherit SIGINT ignored, and the program heeds that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def command(source: Path, tokenizer: Path, prefix: Path, *more: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "--input", str(source), "--tokenizer-name-or-path", str(tokenizer), "--output-prefix", str(prefix), *more]


def test_rerun_does_nothing_and_changes_are_noticed(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, prefix = parquet(tmp_path / "x.parquet", ["the fox", "a dog"]), tmp_path / "out" / "a"
    data = tmp_path / "out" / "a_text_document.bin"

    def said(*more: str) -> str:
        assert run(source, tokenizer, prefix, *more) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert "wrote" in said()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert said("--workers", "1", "--chunk-mib", "1") == f"preprocess_data: {data} is up to date"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert "wrote" in said("--append-eod")
    assert "wrote" in said()
    data.write_bytes(data.read_bytes()[::-1])
    assert "wrote" in said()
    size = source.stat().st_size
    parquet(source, ["the fox", "a cat"])
    assert source.stat().st_size == size
    assert "wrote" in said()
    (tmp_path / "out" / "a_text_document.manifest.json").write_text("{")
    assert "wrote" in said()
    spec = json.loads((tokenizer / "tokenizer.json").read_text())
    spec["post_processor"] = None
    other = write_tokenizer(tmp_path / "other", spec)
    assert run(source, other, prefix) == 0
    assert "wrote" in capsys.readouterr().out
    assert names(tmp_path / "out") == WHOLE


@pytest.mark.parametrize("make", [parquet, jsonl, csv_file])
@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
def test_same_bytes_whatever_the_workers(make: object, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_tokenizer(tmp_path / "tokenizer", variant(kind))
    texts = [f"the  fox {number}\n" + "quick brown " * (number % 30) + ("<s>" if number % 7 == 0 else "") for number in range(600)]
    assert callable(make)
    source = make(tmp_path / {parquet: "x.parquet", jsonl: "x.jsonl", csv_file: "x.csv"}[make], [*texts, None, ""])
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for workers in ("1", "2", "3"):
        assert run(source, folder, tmp_path / workers / "a", "--workers", workers, "--chunk-mib", "0.002", "--log-interval", "100") == 0
        out = capfd.readouterr().out
        assert f"{workers} at work" in out and (make is not parquet or "of 602 rows" in out)
    assert read(str(tmp_path / "1" / "a_text_document")) == [own.encode(text).ids for text in texts]
    assert files(tmp_path / "1" / "a") == files(tmp_path / "2" / "a") == files(tmp_path / "3" / "a")


def test_small_inputs_need_no_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", variant("missing-bytes"))
    monkeypatch.setattr("preprocess_data.processes.Pool", None)
    assert run(parquet(tmp_path / "x.parquet", ["the fox"] * 1000), tokenizer, tmp_path / "a", "--workers", "8") == 0


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module")
def long_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work for several seconds, for a tokenizer that encodes documents whole."""
    return parquet(tmp_path_factory.mktemp("long") / "x.parquet", [f"the quick brown fox {number} " * 50 for number in range(20000)], row_group_size=10**6)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle_leaves_nothing_that_looks_whole(number: int, workers: str, long_input: Path, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", variant("missing-bytes"))
    prefix = tmp_path / "out" / "a"
    words = command(long_input, tokenizer, prefix, "--workers", workers, "--chunk-mib", "0.1", "--log-interval", "10")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if " rows, " in line:
                break
        started = children(process.pid)
        assert len(started) == (2 if workers == "2" else 0)
        process.send_signal(number)
    assert process.returncode != 0
    assert all_gone(started)
    left = names(tmp_path / "out")
    assert not [name for name in left if not name.startswith(".")]
    assert number == signal.SIGKILL or not left
    assert run(parquet(tmp_path / "x.parquet", ["the fox"]), tokenizer, prefix) == 0
    assert names(tmp_path / "out") == WHOLE


def all_gone(processes: list[int]) -> bool:
    until = time.monotonic() + 20
    while not all(map(gone, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    return all(map(gone, processes))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ended_while_pieces_are_encoded(number: int, tokenizer: Path, long_input: Path, tmp_path: Path) -> None:
    words = command(long_input, tokenizer, tmp_path / "out" / "a", "--workers", "2", "--chunk-mib", "0.05", "--log-interval", "10")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            if " rows, " in line:
                break
        started = children(process.pid)
        assert len(started) == 2
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == (128 + signal.SIGTERM if number == signal.SIGTERM else -number), error
    assert all_gone(started)
    assert not [name for name in names(tmp_path / "out") if number != signal.SIGKILL or not name.startswith(".")]


def test_a_signal_is_heeded_whatever_swallows_exceptions(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swallow(self: object, texts: object) -> None:  # as libraries do around an import that may fail
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Encoder, "disagreement", swallow)
    with pytest.raises(SystemExit) as ended:
        run(parquet(tmp_path / "x.parquet", ["the fox"] * 100), tokenizer, tmp_path / "out" / "a")
    assert ended.value.code == 128 + signal.SIGTERM
    assert not names(tmp_path / "out") and signal.getsignal(signal.SIGTERM) == before


def test_a_signal_is_heeded_where_all_rows_are_empty(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(self: object) -> Any:
        for number in range(1000):
            assert number < 3, "read on"
            os.kill(os.getpid(), signal.SIGTERM)
            yield 1, pa.array([], pa.string())

    monkeypatch.setattr(Source, "texts", empty)
    with pytest.raises(SystemExit):
        run(parquet(tmp_path / "x.parquet", [""]), tokenizer, tmp_path / "out" / "a")


def test_a_signal_that_is_ignored_stays_so(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr(Encoder, "disagreement", lambda self, texts: os.kill(os.getpid(), signal.SIGINT))
        assert run(parquet(tmp_path / "x.parquet", ["the fox"]), tokenizer, tmp_path / "out" / "a") == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
@pytest.mark.parametrize("when", [" rows of ", " rows, "])
def test_a_signal_to_all_of_a_group(when: str, kind: str, long_input: Path, tmp_path: Path) -> None:
    """As service managers and `timeout` send it, which sends it twice."""
    tokenizer = write_tokenizer(tmp_path / "tokenizer", variant(kind))
    words = command(long_input, tokenizer, tmp_path / "out" / "a", "--workers", "2", "--chunk-mib", "0.05", "--log-interval", "10")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        for line in process.stdout:
            if when in line:
                break
        started = children(process.pid)
        process.terminate()
        os.killpg(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + signal.SIGTERM, "")
    assert started and all_gone(started) and not names(tmp_path / "out")


def test_who_asks_again_later_is_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(messages, "STOPPED", [(signal.SIGTERM, time.monotonic() - 3)])
    monkeypatch.setattr(signal, "signal", lambda number, action: ended.append(action))
    monkeypatch.setattr(os, "kill", lambda process, number: ended.append(number))
    messages.stop(signal.SIGTERM, None)
    assert ended == [signal.SIG_DFL, signal.SIGTERM]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process and of those that it forks grows beyond 32 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
def test_disk_full_in_the_middle(kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", variant(kind))
    source = parquet(tmp_path / "x.parquet", [f"the{' ' * number}fox" for number in range(3000)])
    request.getfixturevalue("small_disk")
    assert "File too large" in refused(capsys, tmp_path, source, tokenizer, "--workers", "4", "--chunk-mib", "0.05")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_memory_left(workers: str, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(self: object, texts: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Encoder, "disagreement", lambda self, texts: None)
    monkeypatch.setattr(pieces.Pieces, "encode", fail)
    source = parquet(tmp_path / "x.parquet", ["the fox"] * 100)
    assert "no memory left. Use fewer --workers" in refused(capsys, tmp_path, source, tokenizer, "--workers", workers, "--chunk-mib", "0.0001")


@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
def test_a_worker_that_is_killed_is_an_error(kind: str, long_input: Path, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", variant(kind))
    words = command(long_input, tokenizer, tmp_path / "out" / "a", "--workers", "2", "--chunk-mib", "0.1", "--log-interval", "10")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            if " rows, " in line:
                break
        killed, *others = children(process.pid)
        assert len(others) == 1
        os.kill(killed, signal.SIGKILL)
        error = process.stderr.read()
    assert process.returncode == 1
    assert f"A worker, process {killed}, was ended by signal 9" in error and "fewer --workers" in error
    assert all_gone(others) and not names(tmp_path / "out")


def test_an_error_in_a_worker_is_told(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(self: object, texts: object, whole: bool = False) -> None:
        raise PreprocessError("The tokenizer gave id 70000")

    monkeypatch.setattr(Encoder, "disagreement", lambda self, texts: None)
    monkeypatch.setattr(Encoder, "encode", fail)
    source = parquet(tmp_path / "x.parquet", ["the fox"] * 100)
    assert "gave id 70000" in refused(capsys, tmp_path, source, tokenizer, "--workers", "2", "--chunk-mib", "0.0001")


def test_old_index_never_lies_beside_new_data(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, prefix = parquet(tmp_path / "x.parquet", ["the fox"]), tmp_path / "out" / "a"
    assert run(source, tokenizer, prefix) == 0
    parquet(source, ["another"])
    replace = Path.replace

    def stop_after_bin(self: Path, target: Path) -> Path:
        if target.suffix == ".idx":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_after_bin)
    with pytest.raises(KeyboardInterrupt):
        run(source, tokenizer, prefix)
    assert names(tmp_path / "out") == {"a_text_document.bin"}


def refused(capsys: pytest.CaptureFixture[str], folder: Path, source: Path, tokenizer: Path, *more: str) -> str:
    """The message of a run that fails, having left nothing."""
    assert run(source, tokenizer, folder / "out" / "a", *more) == 1
    assert not (folder / "out").exists() or not names(folder / "out")
    return capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
def test_corrupt_parquet(damage: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = parquet(tmp_path / "x.parquet", [f"the fox {number}" for number in range(500)])
    content = bytearray(source.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2:]
    elif damage == "flipped":
        content[4:2000] = b"\xf3" * 1996
    else:
        content = bytearray(b"not a parquet")
    source.write_bytes(content)
    message = refused(capsys, tmp_path, source, tokenizer)
    assert "cannot be read as parquet" in message and str(source) in message and "dataset_sha256" in message


@pytest.mark.parametrize(("name", "content", "message"), [
    ("x.jsonl", b'{"text": "a"}\n\n{"text": "b"\n{"text": "c"}\n', "x.jsonl, line 3: not valid JSON"),
    ("x.jsonl", b'{"text": "a"}\n{"text": "a"} {"text": "b"}\n', "x.jsonl, line 2: not valid JSON: Extra data"),
    ("x.jsonl", b'{"text": "a"}\n{"text": 7}\n', "x.jsonl, line 2: expected an object whose 'text' is a string, found"),
    ("x.jsonl", b'{"text": "a"}\n["text"]\n', "x.jsonl, line 2: expected an object"),
    ("x.jsonl", b'{"other": "a", "more": 1}\n', "x.jsonl has no column 'text': expected a column of texts of that name, found: other, more"),
    ("x.jsonl", b'{"text": "a\xff"}\n', "not valid UTF-8"),
    ("x.jsonl", b'{"text": "\\ud800"}\n', "half of a surrogate pair"),
    ("x.json.gz", b"not gzip", "cannot be read as JSON lines"),
    ("x.json.gz", DAMAGED_GZIP, "cannot be read as JSON lines"),
    ("x.json.gz", DAMAGED_GZIP[:-20], "cannot be read as JSON lines"),
    ("x.csv.gz", DAMAGED_GZIP, "cannot be read as CSV"),
    ("x.csv", b"other,more\n1,2\n", "x.csv has no column 'text'"),
    ("x.csv", b"", "x.csv has no column 'text'"),
    ("x.csv", b'text,more\n"a\nb",1\nx\n', "x.csv, line 4: 1 fields, expected 2"),
    ("x.csv", b'text,more\n"a,1\n', "x.csv, line 2: not valid CSV"),
    ("x.csv", b"text\na\n\xff\n", "not valid UTF-8"),
    ("x.txt", b"a", "x.txt is of no known kind"),
])
def test_bad_lines(name: str, content: bytes, message: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in refused(capsys, tmp_path, tmp_path / name, tokenizer)


def test_line_numbers_hold_in_later_chunks(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f'{{"text": "the fox {number}"}}' for number in range(200)]
    lines[150] = "{"
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    assert "x.jsonl, line 151: not valid JSON" in refused(capsys, tmp_path, tmp_path / "x.jsonl", tokenizer, "--chunk-mib", "0.0003")


def test_invalid_utf8_in_parquet(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    offsets, values = pa.py_buffer(b"".join(number.to_bytes(4, "little") for number in (0, 1, 2))), pa.py_buffer(b"a\xff")
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 2, [None, offsets, values])}), tmp_path / "x.parquet")
    assert "x.parquet, row 2: the text is not valid UTF-8" in refused(capsys, tmp_path, tmp_path / "x.parquet", tokenizer)


def test_missing_column(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"], column="content"), tokenizer)
    assert "has no column 'text'" in message and "other, content" in message and "dataset_json_key" in message


def test_column_of_numbers(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer, "--json-keys", "other")
    assert "holds int64, expected string" in message


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_but_empty_rows(workers: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = parquet(tmp_path / "x.parquet", [None, ""])
    assert "all 2 rows" in refused(capsys, tmp_path, source, tokenizer, "--workers", workers, "--chunk-mib", "0.0001")


def test_missing_input(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no file" in refused(capsys, tmp_path, tmp_path / "none.parquet", tokenizer)
    (tmp_path / "empty").mkdir()
    assert "holds no file whose name ends in .parquet" in refused(capsys, tmp_path, tmp_path / "empty", tokenizer)


def test_input_that_changes_meanwhile(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = jsonl(tmp_path / "x.jsonl", ["the fox"])

    def slow(*given: Any) -> object:
        jsonl(source, ["another", "fox"])
        return load_encoder(*given)

    monkeypatch.setattr("preprocess_data.tokenizer.load_encoder", slow)
    assert "has changed while it was read" in refused(capsys, tmp_path, source, tokenizer)


@pytest.mark.parametrize("change", ["size", "time", "file"])
def test_all_that_tells_a_file_from_another_counts(change: str, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    source = jsonl(tmp_path / "x.jsonl", ["the fox"])
    before, content = source.stat(), source.read_bytes()

    def slow(*given: Any) -> object:
        if change == "file":  # another of the same size and time
            (tmp_path / "new").write_bytes(content.replace(b"fox", b"dog"))
            (tmp_path / "new").replace(source)
        else:
            source.write_bytes(content + (b"\n" if change == "size" else b""))
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + (10**9 if change == "time" else 0)))
        return load_encoder(*given)

    monkeypatch.setattr("preprocess_data.tokenizer.load_encoder", slow)
    assert "has changed while it was read" in refused(capsys, tmp_path, source, tokenizer)


def test_tokenizer_folder_without_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tmp_path / "empty")
    assert "holds no tokenizer" in message and "found: config.json" in message and "tokenizer_src" in message


def test_append_eod_without_an_eos_token(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    assert "needs the tokenizer's eos_token" in refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), bare, "--append-eod")


def test_full_disk(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer)
    assert "No space left on device" in message and "run again" in message


def test_two_at_once(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out", print):
        message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer)
    assert "Another preprocessing is at work" in message


def test_the_log_of_a_run_stays_when_another_is_refused(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    log = tmp_path / "log"
    log.write_text("preprocess_data: 10000 rows, of the one at work\n")
    with alone_in(tmp_path / "out", print):
        message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer, "--log-file", str(log))
    assert "Another preprocessing is at work" in message
    assert log.read_text() == "preprocess_data: 10000 rows, of the one at work\n"


def test_log_file_tells_the_same(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    more = ["--log-file", str(log), "--log-interval", "1"]
    assert run(parquet(tmp_path / "x.parquet", ["the fox"]), tokenizer, tmp_path / "a", *more) == 0
    assert log.read_text() == capsys.readouterr().out and " rows, " in log.read_text()
    assert run(tmp_path / "none.parquet", tokenizer, tmp_path / "a", *more) == 1
    assert log.read_text() == capsys.readouterr().err


def test_help_states_the_bound_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.arguments(["--help"])
    assert "MiB + workers x (" in capsys.readouterr().out


def test_no_room_for_a_process(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    fork = os.fork
    monkeypatch.setattr(os, "fork", refuse)
    source = parquet(tmp_path / "x.parquet", ["a"] * 1000)
    assert "raise the limit of this user's processes" in refused(capsys, tmp_path, source, tokenizer, "--workers", "2", "--chunk-mib", "0.0001")
    forks = iter([fork, refuse])  # a worker, and no more
    monkeypatch.setattr(os, "fork", lambda: next(forks)())
    whole = write_tokenizer(tmp_path / "whole", variant("missing-bytes"))
    assert "raise the limit of this user's processes" in refused(capsys, tmp_path, source, whole, "--workers", "2", "--chunk-mib", "0.001")
    assert not multiprocessing.active_children()


def test_a_panic_of_the_library_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {**mixtral_like(), "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAA="}}
    tokenizer = write_tokenizer(tmp_path / "tokenizer", spec)
    assert "cannot be loaded by tokenizers" in refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer)
