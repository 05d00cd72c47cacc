"""The preprocessor's ids against the tokenizer's own, whichever way they are made, and its files against Megatron's format."""
from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from preprocess_data import pieces
from preprocess_data.dataset import Output, chunks_of
from preprocess_data.messages import PreprocessError
from preprocess_data.sources import ParquetSource
from preprocess_data.tokenizer import Encoder, load_encoder, why_not_alone
from tokenizers import Tokenizer

from tests.unit.preprocess_tools import (
    EXAMPLES,
    PIECEWISE,
    SPECIAL,
    WHOLE,
    csv_file,
    jsonl,
    mixtral_like,
    names,
    parquet,
    read,
    run,
    variant,
    write_tokenizer,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of all the tokenizers, by name."""
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: write_tokenizer(root / name, variant(name)) for name in [*PIECEWISE, *WHOLE]}


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> Path:
    return folders["prepend"]


WRITTEN = ["<s>", "a</s>b", "<unk> <unk>", " <s>  the", "<0x0A>", "[INST]", "x [INST] y", "quick", "quicker", "the dog", "▁dog", "o v",
           "<|é|>", "<pad>", "<", "</", "\x01"]
TEXT = st.one_of(
    st.none(), st.just(""), st.text(max_size=40),
    st.text(alphabet=[" ", "\n", "\t", "▁", "\x00", "\x01", "\u200b", "é", "漢", "字", "😀", "\U0010ffff", "t", "h", "e", ":", "x"], max_size=40),
    st.lists(st.sampled_from([*WRITTEN, " ", "  ", "the", "fox", "the quick brown", "▁", "\n", "漢"]), max_size=8).map("".join),
    st.sampled_from(["   ", " ", "▁", "▁▁ ", "\n\n", "the  quick   brown ", "  the", "x" * 5000, "the" * 1500, "é漢" * 300]),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*PIECEWISE, *WHOLE]), texts=st.lists(TEXT, max_size=25), append=st.booleans())
def test_ids_are_those_of_the_tokenizer(
    name: str, texts: list[str | None], append: bool, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    texts = [*texts, "fox"]
    more = ["--workers", "1", *(["--append-eod"] if append else [])]
    assert run(parquet(folder / "x.parquet", texts), folders[name], folder / "out" / "a", *more) == 0
    own = Tokenizer.from_file(str(folders[name] / "tokenizer.json"))
    expected = [own.encode(text).ids + ([own.token_to_id("</s>")] if append else []) for text in texts if text]
    assert read(str(folder / "out" / "a_text_document")) == expected
    manifest = json.loads((folder / "out" / "a_text_document.manifest.json").read_text())
    assert manifest["encoding"] == ("pieces" if name in PIECEWISE else "whole documents"), manifest["why_whole"]
    assert (manifest["rows"], manifest["documents"], manifest["skipped"]) == (len(texts), len(expected), len(texts) - len(expected))
    assert manifest["tokens"] == sum(map(len, expected))
    lengths = sorted(map(len, expected))
    assert [manifest[f"{which}_document"] for which in ("shortest", "median", "longest")] == [
        lengths[0], lengths[(len(lengths) - 1) // 2], lengths[-1]]


@settings(max_examples=EXAMPLES, deadline=None)
@given(name=st.sampled_from(PIECEWISE), texts=st.lists(TEXT, min_size=1, max_size=25).map(lambda texts: [text for text in texts if text] or ["fox"]))
def test_pieces_alone_give_the_ids_of_the_tokenizer(name: str, texts: list[str], folders: dict[str, Path]) -> None:
    encoder = load_encoder(folders[name], append_eod=False)
    own = Tokenizer.from_file(str(folders[name] / "tokenizer.json"))
    array, special = encoder.pieces.canonical(pa.array(texts))
    plain = [text for text, left_out in zip(texts, special) if not left_out]
    if plain:
        ids, lengths = encoder.pieces.encode(array.filter(pa.array(~special)))
        assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == [own.encode(text).ids for text in plain]


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the documents that go either way; not those encoded for comparison."""
    seen = {"pieces": 0, "whole": 0}
    by_pieces, whole = pieces.Pieces.encode, Encoder.encode_whole

    def count_pieces(self: Any, texts: Any) -> Any:
        seen["pieces"] += len(texts)
        return by_pieces(self, texts)

    def count_whole(self: Any, texts: Any) -> Any:
        seen["whole"] += len(texts)
        return whole(self, texts)

    monkeypatch.setattr(pieces.Pieces, "encode", count_pieces)
    monkeypatch.setattr(Encoder, "encode_whole", count_whole)
    monkeypatch.setattr(Encoder, "disagreement", lambda self, texts: None)
    return seen


@pytest.mark.parametrize("name", PIECEWISE)
def test_both_ways_run_where_they_should(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = counted(monkeypatch)
    source = parquet(tmp_path / "x.parquet", ["the fox", "a <s> b", "the  fox", None, "▁the", "\x01"])
    assert run(source, folders[name], tmp_path / "a", "--workers", "1") == 0
    assert seen == {"pieces": 3, "whole": 2}
    assert "each distinct piece is encoded once" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "reason"), WHOLE.items())
def test_tokenizers_of_another_kind_encode_whole_documents(
    name: str, reason: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = counted(monkeypatch)
    assert run(parquet(tmp_path / "x.parquet", ["the fox", "a dog"]), folders[name], tmp_path / "a", "--workers", "1") == 0
    assert seen == {"pieces": 0, "whole": 2}
    assert re.search(f"documents are encoded whole: .*{reason}", capsys.readouterr().out)
    assert reason in json.loads((tmp_path / "a_text_document.manifest.json").read_text())["why_whole"]


@pytest.mark.parametrize(("change", "reason"), [
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, "normalizer": None}, "settings are all written"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": False}, "normalizer": None}, "Metaspace"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}}, "both a normalizer and"),
    ({"normalizer": None}, "or neither"),
    ({"normalizer": {"type": "Replace", "pattern": {"Regex": " "}, "content": "▁"}}, "its normalizer is not"),
    ({"post_processor": {"type": "ByteLevel"}}, "post-processor is ByteLevel"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}}}, "does not hold the document once"),
    ({"added_tokens": [{"content": "▁▁", "id": 1}]}, "made of spaces"),
    ({"model.dropout": 0.1}, "dropped at random"),
    ({"model.type": "Unigram"}, "Unigram, not BPE"),
    ({"model.end_of_word_suffix": "</w>"}, "prefix or suffix"),
])
def test_conditions_are_read_from_the_tokenizer(change: dict[str, Any], reason: str) -> None:
    spec = mixtral_like()
    for name, value in change.items():
        inner, _, option = name.rpartition(".")
        (spec[inner] if inner else spec)[option] = value
    with pytest.raises(pieces.NoPieces, match=reason):
        pieces.piece_rules(spec)


def test_cuts_are_where_no_merge_reaches_across() -> None:
    def table(pairs: list[tuple[str, str]], split_spaces: bool) -> Any:
        return np.frombuffer(pieces.cuts_of(pairs, split_spaces), dtype=bool).reshape(256, 256)

    cuts = table([("▁", "▁"), ("▁", "t"), ("▁t", "he"), ("é", "t")], split_spaces=False)

    def may_cut(before: bytes, after: bytes) -> bool:
        return bool(cuts[before[-1], after[0]])

    assert may_cut(b"e", b" ") and may_cut(b"\n", b" ") and may_cut(b"t", b"x")
    assert not may_cut(b" ", b" ") and not may_cut(b" ", b"t") and not may_cut(b"t", b"h") and not may_cut("é".encode(), b"t")
    assert not cuts[:pieces.BEGIN, 0x80:0xC0].any()  # within a character
    assert table([("▁", "▁")], split_spaces=True)[ord(" "), ord(" ")]


def test_a_difference_is_noticed_and_documents_are_encoded_whole(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everywhere = np.ones((256, 256), dtype=bool)
    everywhere[:, 0x80:0xC0] = False
    monkeypatch.setattr(pieces, "cuts_of", lambda pairs, split: everywhere.tobytes())
    assert run(parquet(tmp_path / "x.parquet", ["the fox", "a dog"]), tokenizer, tmp_path / "a", "--workers", "1") == 0
    assert "differs from that of their pieces" in capsys.readouterr().out
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in ("the fox", "a dog")]
    assert json.loads((tmp_path / "a_text_document.manifest.json").read_text())["encoding"] == "whole documents"


def test_pieces_are_forgotten_when_there_are_too_many(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CACHE_PIECES", 20)
    encoder = load_encoder(tokenizer, append_eod=False)
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    for number in range(20):
        texts = [f"the fox {number}", f"brown{number} dogs"]
        ids, lengths = encoder.encode(pa.array(texts))
        assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == [own.encode(text).ids for text in texts]
        assert len(encoder.pieces._known) < 40


def test_a_special_token_that_ends_a_piece_makes_documents_whole(tmp_path: Path) -> None:
    """Its id is that by which the ends of pieces are found: the pieces would be shifted, without a word."""
    spec = mixtral_like()
    spec["post_processor"]["special_tokens"]["<s>"]["ids"] = [pieces.piece_rules(spec).between_id]
    encoder = load_encoder(write_tokenizer(tmp_path / "tokenizer", spec), append_eod=False)
    assert encoder.pieces is None and encoder.why_whole == "a byte token is among its special tokens"
    own = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    assert encoder.encode(pa.array(["the fox"]))[0].tolist() == own.encode("the fox").ids


@pytest.mark.parametrize("change", ["lost", "doubled"])
def test_pieces_that_are_not_encoded_one_by_one_are_refused(change: str, tokenizer: Path) -> None:
    encoder = load_encoder(tokenizer, append_eod=False)
    batch, between = encoder.pieces._batch, encoder.pieces._rules.between_id

    def wrong(texts: list[str]) -> list[list[int]]:
        first, *rest = batch(texts)
        return [[*first, between] if change == "doubled" else [number for number in first if number != between], *rest]

    encoder.pieces._batch = wrong
    with pytest.raises(PreprocessError, match=r"pieces were encoded as .*tokenizers does not do what its tokenizer\.json says"):
        encoder.encode(pa.array(["the fox", "a dog"]))


def test_pieces_are_forgotten_between_chunks_alone(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one chunk needs is known until it is done, however little may be remembered."""
    monkeypatch.setattr(pieces, "CACHE_BYTES", 1)
    encoder = load_encoder(tokenizer, append_eod=False)
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    for texts in (["the fox", "brown dogs"], ["the lazy fox", "the fox"], ["the fox", "the lazy fox"]):
        ids, lengths = encoder.encode(pa.array(texts))
        assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == [own.encode(text).ids for text in texts]


def test_a_parquet_file_that_ends_early_is_refused(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its footer promises more rows than its pages give."""
    iter_batches = pa.parquet.ParquetFile.iter_batches
    monkeypatch.setattr("pyarrow.parquet.ParquetFile.iter_batches", lambda self, **more: itertools.islice(iter_batches(self, **more), 1))
    source = parquet(tmp_path / "x.parquet", ["the fox"] * 5000)
    assert run(source, tokenizer, tmp_path / "out" / "a") == 1
    assert re.search(r"x\.parquet gave \d+ rows, its footer promises 5000: the file is corrupt", capsys.readouterr().err)
    assert not names(tmp_path / "out")


@pytest.mark.parametrize(("entries", "dtype"), [(65499, "uint16"), (65500, "int32")])
def test_type_of_an_id_follows_the_vocabulary(entries: int, dtype: str) -> None:
    assert Encoder("x", entries, list).dtype == dtype


def test_wide_vocabulary_is_written_and_read(tmp_path: Path) -> None:
    spec = mixtral_like()
    spec["model"]["vocab"].update({f"unused{number}": number for number in range(len(spec["model"]["vocab"]), 70000)})
    folder = write_tokenizer(tmp_path / "wide", spec)
    assert run(parquet(tmp_path / "x.parquet", ["the fox", "<s>"]), folder, tmp_path / "a", "--append-eod") == 0
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [[*own.encode(text).ids, 2] for text in ("the fox", "<s>")]
    assert json.loads((tmp_path / "a_text_document.manifest.json").read_text())["dtype"] == "int32"


def test_ids_beyond_their_type_are_refused() -> None:
    with pytest.raises(PreprocessError, match="gave id 70000"):
        Encoder("x", 10, lambda texts: [[70000]]).encode(pa.array(["a"]))


def test_offsets_beyond_32_bits(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "a"))
    output._lengths = [np.array([2**30, 2**30], np.int32), np.array([], np.int32), np.array([5, 1], np.int32)]
    raw = b"".join(output._index("int32"))
    assert np.frombuffer(raw, np.int64, 4, 34 + 16).tolist() == [0, 2**32, 2**33, 2**33 + 20]
    assert np.frombuffer(raw, np.int64, 5, 34 + 48).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int16(), pa.large_string())])
def test_kinds_of_parquet_columns(kind: Any, tokenizer: Path, tmp_path: Path) -> None:
    texts: list[str | None] = ["the fox", None, "a dog", "", "the fox", "<s>"]
    assert run(parquet(tmp_path / "x.parquet", texts, kind=kind), tokenizer, tmp_path / "a") == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in texts if text]


HARD = ['say "the"\nfox, and \r\nmore', "   ", "{}", "▁", "漢字 😀", "a\tb", "\\n", "'", "the" * 4000, "é" * 3000, "x"]


@pytest.mark.parametrize("make", [parquet, jsonl, csv_file])
def test_formats_give_the_same_documents(make: Any, tokenizer: Path, tmp_path: Path) -> None:
    name = {parquet: "x.parquet", jsonl: "x.jsonl", csv_file: "x.csv"}[make]
    assert run(make(tmp_path / name, [*HARD, None, ""]), tokenizer, tmp_path / "a", "--chunk-mib", "0.0005") == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in HARD]


@settings(max_examples=EXAMPLES // 6, deadline=None)
@given(texts=st.lists(TEXT, max_size=20), chunk=st.sampled_from([1e-6, 1e-5, 1e-4, 1]))
def test_formats_and_chunks_do_not_matter(
    texts: list[str | None], chunk: float, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    texts = [None if text is None else text.replace("\x00", "0") for text in [*texts, "fox"]]
    made = [parquet(folder / "x.parquet", texts), jsonl(folder / "x.jsonl", texts), csv_file(folder / "x.csv", texts)]
    for source in made:
        assert run(source, folders["metaspace"], folder / source.suffix[1:], "--workers", "1", "--chunk-mib", str(chunk)) == 0
    one, *others = (read(f"{folder / source.suffix[1:]}_text_document") for source in made)
    assert all(other == one for other in others)


def test_several_inputs_in_a_stated_order(tokenizer: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, make, text in (("b/2.parquet", parquet, "two"), ("b/1.jsonl", jsonl, "one"), ("b/.hidden.jsonl", jsonl, "hidden"), ("z.csv", csv_file, "zed"),
                             ("c-2.json", jsonl, "fox"), ("c-1.json", jsonl, "dog")):
        make(data / name, [text])
    (data / "b" / "README.md").write_text("no data")
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    words = [str(data / "z.csv"), str(data / "b"), str(data / "c-*.json"), str(data / "b" / "1.jsonl")]
    assert run(words, tokenizer, tmp_path / "a") == 0
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in ("zed", "one", "two", "dog", "fox")]
    sources = json.loads((tmp_path / "a_text_document.manifest.json").read_text())["inputs"]["sources"]
    assert [source["name"] for source in sources] == ["z.csv", "1.jsonl", "2.parquet", "c-1.json", "c-2.json"]


def test_compressed_lines(tokenizer: Path, tmp_path: Path) -> None:
    import gzip
    for make, name in ((jsonl, "x.jsonl"), (csv_file, "x.csv")):
        plain = make(tmp_path / name, HARD)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        assert run(plain, tokenizer, tmp_path / "plain") == run(tmp_path / f"{name}.gz", tokenizer, tmp_path / "gz") == 0
        assert read(str(tmp_path / "plain_text_document")) == read(str(tmp_path / "gz_text_document"))


def test_several_columns(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('\ufeff{"a": "the fox", "b": "dog"}\n\n{"b": "x"}', encoding="utf-8")
    assert run(tmp_path / "x.jsonl", tokenizer, tmp_path / "o", "--json-keys", "a", "b") == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "o_a_document")) == [own.encode("the fox").ids]
    assert read(str(tmp_path / "o_b_document")) == [own.encode("dog").ids, own.encode("x").ids]


@pytest.mark.parametrize(("config", "reason"), [
    ({**SPECIAL, "add_bos_token": True, "add_eos_token": False}, None),
    ({**SPECIAL, "bos_token": {"content": "<s>", "__type": "AddedToken"}}, None),
    ({**SPECIAL, "add_eos_token": True}, "add_eos_token is True"),
    ({**SPECIAL, "add_bos_token": False}, "add_bos_token is False"),
    ({**SPECIAL, "pad_token": "[PAD]"}, r"pad_token '\[PAD\]'"),
    ({**SPECIAL, "additional_special_tokens": ["<x>"]}, "additional_special_tokens"),
    ({**SPECIAL, "added_tokens_decoder": {"9": {"content": "<s>"}}}, "added token 9"),
])
def test_tokenizer_json_alone_only_where_it_is_the_whole_truth(
    config: dict[str, Any], reason: str | None, tokenizer: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    path = tokenizer / "tokenizer.json"
    found = why_not_alone(tmp_path, Tokenizer.from_file(str(path)), json.loads(path.read_text()))
    if reason is None:
        assert found is None
    else:
        assert found and re.search(reason, found)


def test_eod_is_the_id_that_the_library_gives(tmp_path: Path) -> None:
    """Where the ids of added tokens have a gap, it is not the one that is written there."""
    spec = mixtral_like()
    spec["added_tokens"].append({"id": len(spec["model"]["vocab"]) + 9, "content": "<|end|>", "single_word": False, "lstrip": False,
                                 "rstrip": False, "normalized": False, "special": True})
    folder = write_tokenizer(tmp_path / "tokenizer", spec)
    (folder / "tokenizer_config.json").write_text(json.dumps({**SPECIAL, "eos_token": "<|end|>"}))
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert own.token_to_id("<|end|>") != spec["added_tokens"][-1]["id"]
    assert run(parquet(tmp_path / "x.parquet", ["the fox"]), folder, tmp_path / "a", "--append-eod") == 0
    assert read(str(tmp_path / "a_text_document")) == [[*own.encode("the fox").ids, own.token_to_id("<|end|>")]]


@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
def test_the_first_chunk_of_pieces_alone_is_a_small_one(kind: str, tmp_path: Path) -> None:
    encoder = load_encoder(write_tokenizer(tmp_path / "tokenizer", variant(kind)), append_eod=False)
    source = ParquetSource(parquet(tmp_path / "x.parquet", ["fox1 fox2 "] * 250), "text", 1000)
    sizes = [len(chunk.texts) for chunk in chunks_of(source, 1000, encoder)]
    assert len(set(sizes[1:-1])) == 1 and 500 < 10 * sizes[1] <= 1000
    assert sizes[0] == (sizes[1] // 2 if kind == "prepend" else sizes[1])


def test_truncation_and_padding_of_the_file_do_not_count(tokenizer: Path, tmp_path: Path) -> None:
    short = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    short.enable_truncation(3)
    short.enable_padding(length=8)
    folder = write_tokenizer(tmp_path / "tokenizer", json.loads(short.to_str()))
    assert run(parquet(tmp_path / "x.parquet", ["a", "the lazy dog jumps", "<s>"]), folder, tmp_path / "a") == 0
    own = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert read(str(tmp_path / "a_text_document")) == [own.encode(text).ids for text in ("a", "the lazy dog jumps", "<s>")]
    assert names(tmp_path) >= {"a_text_document.bin", "a_text_document.idx", "a_text_document.manifest.json"}
