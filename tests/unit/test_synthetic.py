"""The synthetic data set and tokenizer of the rehearsal."""
from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from rehearsal import synthetic

ROOT = Path(__file__).resolve().parents[2]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_have_alpacas_columns_and_text() -> None:
    made = list(synthetic.rows(50, seed=3, words=200))
    assert len(made) == 50
    assert all(tuple(row) == synthetic.COLUMNS for row in made)
    assert any(row["input"] for row in made)
    assert any(not row["input"] for row in made)
    assert all(row["instruction"] in row["text"] and row["text"].endswith(row["output"]) for row in made)


def test_words_follow_zipf() -> None:
    words = " ".join(row["output"] for row in synthetic.rows(300, seed=3, words=500)).lower().split()
    counts = sorted((words.count(word) for word in set(words)), reverse=True)
    assert counts[0] > 5 * counts[20]


def test_parquet_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = synthetic.make_parquet(tmp_path / "deep" / "a.parquet", 40, seed=5, words=100)
    program = f"from rehearsal.synthetic import make_parquet; make_parquet({str(tmp_path / 'b.parquet')!r}, 40, 5, 100)"
    # The order of a set of strings depends on this, and must not show.
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, check=True)
    assert sha256(path) == sha256(tmp_path / "b.parquet")
    assert sha256(path) != sha256(synthetic.make_parquet(tmp_path / "c.parquet", 40, seed=6, words=100))
    table = pyarrow.parquet.read_table(path)
    assert (table.num_rows, tuple(table.column_names)) == (40, synthetic.COLUMNS)


def test_tokenizer_has_mixtrals_shape(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = synthetic.make_tokenizer(tmp_path / "one", vocab_size=400, rows_count=60, words=100)
    synthetic.make_tokenizer(tmp_path / "two", vocab_size=400, rows_count=60, words=100)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert all(sha256(folder / name) == sha256(tmp_path / "two" / name) for name in names)

    described = json.loads((folder / "tokenizer.json").read_text())
    assert described["pre_tokenizer"] is None
    assert [token["content"] for token in described["added_tokens"]] == ["<unk>", "<s>", "</s>"]
    loaded = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert loaded.get_vocab_size() == 400
    assert loaded.token_to_id("<0x00>") == 3
    text = "Below is an instruction, 漢 and  spaces."
    ids = loaded.encode(text).ids
    assert ids[0] == 1
    assert 0 not in ids
    assert loaded.decode(ids).strip() == text
    # No token spans words: the way of the data set role that encodes each word once depends on it.
    assert not [token for token in loaded.get_vocab() if "▁" in token.lstrip("▁")]


def test_a_vocabulary_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vocab_size is 259, expected more than 259"):
        synthetic.make_tokenizer(tmp_path, vocab_size=259)
    assert list(tmp_path.iterdir()) == []
