"""The preprocessor: its ids against the tokenizer's own, its files against Megatron's format, and what it refuses."""
from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PROGRAM = Path(__file__).parents[2] / "roles" / "dataset" / "files" / "preprocess_data.py"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def load() -> Any:
    spec = importlib.util.spec_from_file_location("preprocess_data", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


preprocess = load()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BPE tokenizer of Mixtral's shape: byte fallback, spaces replaced, no pre-tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    alphabet = ["<unk>", "<s>", "</s>"] + [f"<0x{number:02X}>" for number in range(256)]
    made.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 9,
                             trainers.BpeTrainer(vocab_size=340, special_tokens=alphabet, show_progress=False))
    made.pre_tokenizer = None
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}))
    return folder


def parquet(path: Path, texts: list[str | None], column: str = "text") -> Path:
    pq.write_table(pa.table({"other": list(range(len(texts))), column: pa.array(texts, pa.string())}), path, row_group_size=7)
    return path


def run(source: Path, tokenizer: Path, prefix: Path, *more: str) -> int:
    status: int = preprocess.main(["--input", str(source), "--tokenizer-name-or-path", f"{tokenizer}/", "--output-prefix", str(prefix),
                                   "--tokenizer-type", "PretrainedFromHF", *more])
    return status


def read(stem: str) -> list[list[int]]:
    """The documents of a dataset, by a reader of this test's own."""
    raw = Path(stem + ".idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, bounds = struct.unpack_from("<QBQQ", raw, 9)
    assert version == 1
    dtype = {4: np.int32, 8: np.uint16}[code]
    at = 9 + 8 + 1 + 8 + 8
    lengths = np.frombuffer(raw, np.int32, sequences, at)
    pointers = np.frombuffer(raw, np.int64, sequences, at + 4 * sequences)
    documents = np.frombuffer(raw, np.int64, bounds, at + 12 * sequences)
    assert len(raw) == at + 12 * sequences + 8 * bounds
    assert documents.tolist() == list(range(sequences + 1))
    data = Path(stem + ".bin").read_bytes()
    width = np.dtype(dtype).itemsize
    assert len(data) == int(lengths.sum(dtype=np.int64)) * width
    return [np.frombuffer(data, dtype, length, pointer).tolist() for length, pointer in zip(lengths, pointers, strict=True)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


TEXTS = st.lists(st.one_of(
    st.none(), st.just(""), st.text(max_size=40),
    st.text(alphabet=[" ", "\n", "\t", "▁", "\x00", "\u200b", "é", "漢", "😀", "t", "h", "e"], max_size=40),
    st.sampled_from(["<s>", "a</s>b", "<unk> <unk>", "   ", "\n\n", "the  quick   brown ", "x" * 5000]),
), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, append=st.booleans())
def test_ids_are_those_of_the_tokenizer(
    texts: list[str | None], append: bool, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    texts = [*texts, "fox"]
    assert run(parquet(folder / "x.parquet", texts), tokenizer, folder / "out" / "a", *(["--append-eod"] if append else [])) == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    expected = [own.encode(text).ids + ([2] if append else []) for text in texts if text]
    assert read(str(folder / "out" / "a_text_document")) == expected
    manifest = json.loads((folder / "out" / "a_text_document.manifest.json").read_text())
    assert (manifest["rows"], manifest["documents"], manifest["skipped"]) == (len(texts), len(expected), len(texts) - len(expected))
    assert manifest["tokens"] == sum(map(len, expected))


@pytest.mark.parametrize(("entries", "dtype"), [(65499, "uint16"), (65500, "int32")])
def test_type_of_an_id_follows_the_vocabulary(entries: int, dtype: str) -> None:
    assert preprocess.Encoder("x", entries, None, None).dtype == dtype


def test_wide_vocabulary_is_written_and_read(tmp_path: Path) -> None:
    source = preprocess.Table(parquet(tmp_path / "x.parquet", ["a", "bb"]), "text")
    encoder = preprocess.Encoder("x", 70000, None, lambda texts: [[69999] * len(text) for text in texts])
    preprocess.Output(str(tmp_path / "o")).write(source, encoder, {}, False, 1)
    assert read(str(tmp_path / "o")) == [[69999], [69999, 69999]]


def test_ids_beyond_their_type_are_refused() -> None:
    with pytest.raises(preprocess.PreprocessError, match="gave id 70000"):
        preprocess.Encoder("x", 10, None, lambda texts: [[70000]]).encode_documents(["a"])


def test_rerun_does_nothing_and_changes_are_noticed(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, prefix = parquet(tmp_path / "x.parquet", ["the fox", "a dog"]), tmp_path / "out" / "a"
    data = tmp_path / "out" / "a_text_document.bin"

    def said(*more: str) -> str:
        assert run(source, tokenizer, prefix, *more) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert "wrote" in said()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert said("--workers", "1") == f"preprocess_data: {data} is up to date"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert "wrote" in said("--append-eod")
    assert "wrote" in said()
    data.write_bytes(data.read_bytes()[::-1])
    assert "wrote" in said()
    parquet(source, ["the fox", "a cat"])
    assert "wrote" in said()
    (tmp_path / "out" / "a_text_document.manifest.json").write_text("{")
    assert "wrote" in said()
    assert names(tmp_path / "out") == {f"a_text_document.{end}" for end in ("bin", "idx", "manifest.json")}


def test_same_bytes_whatever_the_workers(tokenizer: Path, tmp_path: Path) -> None:
    source = parquet(tmp_path / "x.parquet", [f"the fox {number}" for number in range(2500)])
    for workers in ("1", "4"):
        command = [sys.executable, str(PROGRAM), "--input", str(source), "--tokenizer-name-or-path", str(tokenizer),
                   "--output-prefix", str(tmp_path / workers / "a"), "--workers", workers]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "1000 of 2500 rows" in done.stdout
    for end in ("bin", "idx", "manifest.json"):
        one, four = (tmp_path / workers / f"a_text_document.{end}" for workers in ("1", "4"))
        assert one.read_bytes() == four.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_leaves_nothing_that_looks_whole(number: int, tokenizer: Path, tmp_path: Path) -> None:
    source = parquet(tmp_path / "x.parquet", ["the quick brown fox " * 50] * 20000)
    prefix = tmp_path / "out" / "a"
    command = [sys.executable, str(PROGRAM), "--input", str(source), "--tokenizer-name-or-path", str(tokenizer),
               "--output-prefix", str(prefix), "--workers", "1", "--log-interval", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if " rows, " in line:
                break
        process.send_signal(number)
    assert process.returncode != 0
    left = names(tmp_path / "out")
    assert not [name for name in left if not name.startswith(".")]
    assert number == signal.SIGKILL or not left
    parquet(source, ["the fox"])
    assert run(source, tokenizer, prefix) == 0
    assert names(tmp_path / "out") == {f"a_text_document.{end}" for end in ("bin", "idx", "manifest.json")}


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
        content[4:2000] = os.urandom(1996)
    else:
        content = bytearray(b"not a parquet")
    source.write_bytes(content)
    message = refused(capsys, tmp_path, source, tokenizer)
    assert "cannot be read as parquet" in message and str(source) in message and "dataset_sha256" in message


def test_missing_column(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"], column="content"), tokenizer)
    assert "has no column 'text'" in message and "other, content" in message and "dataset_json_key" in message


def test_column_of_numbers(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer, "--json-keys", "other")
    assert "holds int64, expected string" in message


def test_nothing_but_empty_rows(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "all 2 rows" in refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", [None, ""]), tokenizer)


def test_missing_input(tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no file" in refused(capsys, tmp_path, tmp_path / "none.parquet", tokenizer)


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
    with preprocess.alone_in(tmp_path / "out"):
        message = refused(capsys, tmp_path, parquet(tmp_path / "x.parquet", ["a"]), tokenizer)
    assert "Another preprocessing is at work" in message


@pytest.mark.parametrize(("config", "reason"), [
    ({**SPECIAL, "add_bos_token": True, "add_eos_token": False}, None),
    ({**SPECIAL, "bos_token": {"content": "<s>", "__type": "AddedToken"}}, None),
    ({**SPECIAL, "add_eos_token": True}, "add_eos_token is True"),
    ({**SPECIAL, "add_bos_token": False}, "add_bos_token is False"),
    ({**SPECIAL, "pad_token": "[PAD]"}, r"pad_token '\[PAD\]'"),
    ({**SPECIAL, "additional_special_tokens": ["<x>"]}, "additional_special_tokens"),
    ({**SPECIAL, "added_tokens_decoder": {"9": {"content": "<s>"}}}, "added token 9"),
])
def test_plain_encoding_only_where_it_is_the_whole_truth(
    config: dict[str, Any], reason: str | None, tokenizer: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = preprocess.why_not_plain(tmp_path, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    if reason is None:
        assert found is None
    else:

        assert found and re.search(reason, found)


def test_truncation_and_padding_of_the_file_do_not_count(tokenizer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    short = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    short.enable_truncation(3)
    short.enable_padding(length=8)
    short.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(SPECIAL))
    assert run(parquet(tmp_path / "x.parquet", ["a", "the lazy dog jumps"]), folder, tmp_path / "a") == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in ("a", "the lazy dog jumps")]
