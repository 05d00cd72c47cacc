"""The preprocessor's ids with the real vocabulary, against the libraries': tokenizers, transformers as the training loads it, and sentencepiece."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import sentencepiece
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_data.tokenizer import load_encoder
from tokenizers import Tokenizer

from bench import natural
from tests.unit.preprocess_tools import parquet, read, run

ROOT = Path(__file__).parents[2]
SPECIAL = ["<s>", "</s>", "<unk>"]
# What a person wrote: prose in English and Chinese, tables, code, YAML, shell.
NATURAL = [path.read_text(encoding="utf-8") for pattern in ("*.md", "docs/*.md", "roles/*/tasks/*.yml", "roles/*/files/*.py", "rehearsal/*.sh")
           for path in sorted(ROOT.glob(pattern))]
LANGUAGES = [
    "Всё счастливые семьи похожи друг на друга.", "すべての人間は、生まれながらにして自由であり、", "모든 인간은 태어날 때부터 자유로우며",
    "يولد جميع الناس أحرارًا", "כל בני האדם נולדו בני חורין",
    "सभी मनुष्यों को गौरव और अधिकारों", "มนุษย์ทั้งหลายเกิดมามีอิสระ", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    "Ĉiuj homoj estas denaske liberaj", "Tất cả mọi người sinh ra đều được tự do",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳 e\u0301 \u200d\ufeff", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀 𐍈", "\x00\x01\x7f\x85\u2028",
]
ODD = ["<s>", "</s>", "<unk>", "a<s>b", " <s> x", "</s></s>", "<s", "<0x0A>", "▁", "▁▁▁", " ", "  ", " " * 17, "\n", "\n\n\n", "\t",
       "a" * 4000, "é漢" * 500, " the" * 900, "def f(x):\n        return  x\n"]
TEXT = st.one_of(
    st.text(min_size=1, max_size=60),
    st.text(alphabet=[*" \n\t▁\x00\x01é漢字😀\U0010ffffthexyzABC:.,0123"], min_size=1, max_size=60),
    st.lists(st.sampled_from([*ODD, *LANGUAGES, " ", "the", "Quick ", "-", "漢"]), min_size=1, max_size=6).map("".join),
)


@pytest.fixture(scope="module")
def libraries(real: Path) -> dict[str, Any]:
    """What gives the ids of a text, by library."""
    training = transformers.AutoTokenizer.from_pretrained(str(real), model_max_length=4096, use_fast=True, trust_remote_code=True)
    own, pieces = Tokenizer.from_file(str(real / "tokenizer.json")), sentencepiece.SentencePieceProcessor(str(real / "tokenizer.model"))
    return {"tokenizers": lambda text: own.encode(text).ids, "transformers": training.encode,
            "sentencepiece": lambda text: [pieces.bos_id(), *pieces.encode(text)]}


@pytest.fixture(scope="module")
def encoder(real: Path) -> Any:
    made = load_encoder(real, append_eod=False)
    assert made.pieces is not None, made.why_whole
    return made


def agree(encoder: Any, libraries: dict[str, Any], texts: list[str]) -> None:
    ids, lengths = encoder.encode(pyarrow.array(texts))
    ends = lengths.cumsum().tolist()
    ours = [ids[start:end].tolist() for start, end in zip([0, *ends], ends)]
    for name, encode in libraries.items():
        for text, found in zip(texts, ours):
            if name != "sentencepiece" or not any(token in text for token in SPECIAL):  # which knows no special token in a text
                assert found == encode(text), (name, text[:200])


def test_the_bench_makes_the_same_tokenizer(real: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((real / "tokenizer.model").read_bytes())
    ours, theirs = (json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")) for folder in (natural.tokenizer(tmp_path), real))
    assert len(theirs["model"]["merges"]) > 50_000
    for part in ("normalizer", "pre_tokenizer", "post_processor", "model"):
        assert ours[part] == theirs[part], part
    wanted = ("id", "content", "special")
    assert [[token[key] for key in wanted] for token in ours["added_tokens"]] == [[token[key] for key in wanted] for token in theirs["added_tokens"]]


def test_natural_texts(encoder: Any, libraries: dict[str, Any]) -> None:
    assert sum(map(len, NATURAL)) > 200_000
    agree(encoder, libraries, [*LANGUAGES, *NATURAL, *(line for text in NATURAL for line in text.splitlines() if line)])


def test_odd_texts(encoder: Any, libraries: dict[str, Any]) -> None:
    agree(encoder, libraries, [*ODD, *(a + b for a in ODD[:16] for b in ODD[:16])])


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=25))
def test_any_text(encoder: Any, libraries: dict[str, Any], texts: list[str]) -> None:
    agree(encoder, libraries, texts)


@pytest.mark.parametrize("kept", ["tokenizer.json", "tokenizer.model"])
def test_the_program_writes_them(kept: str, real: Path, tmp_path: Path, libraries: dict[str, Any]) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in (kept, "tokenizer_config.json"):
        (folder / name).write_bytes((real / name).read_bytes())
    texts = [*LANGUAGES, *ODD, *NATURAL[:5]]
    assert run(parquet(tmp_path / "x.parquet", [*texts, "", None]), folder, tmp_path / "a", "--workers", "2", "--chunk-mib", "0.01", "--append-eod") == 0
    assert read(str(tmp_path / "a_text_document")) == [[*libraries["transformers"](text), 2] for text in texts]
    manifest = json.loads((tmp_path / "a_text_document.manifest.json").read_text())
    assert (manifest["encoding"], manifest["vocab_size"]) == ("pieces" if kept == "tokenizer.json" else "whole documents", 32000)
