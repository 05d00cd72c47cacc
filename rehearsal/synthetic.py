"""A synthetic data set and tokenizer of the shapes that the recipe uses, made on the spot.

The same parameters give the same bytes (with the same versions of pyarrow and tokenizers), so that rehearsals
can state a sha256 before the files are made anew.
"""
from __future__ import annotations

import bisect
import itertools
import json
import os
import random
from pathlib import Path
from typing import Any, Iterator

COLUMNS = ("instruction", "input", "output", "text")
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", *BYTE_TOKENS]
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvw", "aeiou"
_PREFACE = ("Below is an instruction that describes a task. Write a response that appropriately completes "
            "the request.\n\n### Instruction:\n")


class _Writer:
    """Sentences of invented words, whose frequencies follow Zipf's law."""

    def __init__(self, seed: int, words: int, shuffled: bool) -> None:
        self.random = random.Random(seed)  # noqa: S311
        # A dict keeps the order of first mention; a set's order changes from run to run.
        self.words = list(dict.fromkeys(self._word() for _ in range(words)))
        if shuffled:
            self.random.shuffle(self.words)
        self.cumulated = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(self.words))))

    def _word(self) -> str:
        syllables = self.random.choice([1, 1, 2, 2, 2, 3, 3, 4])
        return "".join(self.random.choice(_CONSONANTS) + self.random.choice(_VOWELS) for _ in range(syllables))

    def sentence(self, shortest: int, longest: int) -> str:
        count = self.random.randint(shortest, longest)
        picks = [bisect.bisect(self.cumulated, self.random.random() * self.cumulated[-1]) for _ in range(count)]
        return " ".join(self.words[pick] for pick in picks).capitalize() + self.random.choice([".", "?", "!", ", 42."])

    def row(self) -> dict[str, str]:
        instruction = self.sentence(6, 16)
        given = self.sentence(4, 40) if self.random.random() < 0.4 else ""
        output = " ".join(self.sentence(5, 20) for _ in range(self.random.randint(1, 8)))
        middle = f"{instruction}\n\n### Input:\n{given}" if given else instruction
        return {"instruction": instruction, "input": given, "output": output,
                "text": f"{_PREFACE}{middle}\n\n### Response:\n{output}"}


def rows(count: int, seed: int = 1, words: int = 4000, shuffled: bool = False) -> Iterator[dict[str, str]]:
    """``count`` rows with alpaca's four columns, the same for the same seed.

    Args:
        count: how many.
        seed: of the random numbers.
        words: invented words at most.
        shuffled: whether long words may be as frequent as short ones; else most of the frequent ones are short.
    """
    writer = _Writer(seed, words, shuffled)
    return (writer.row() for _ in range(count))


def make_parquet(path: Path | str, rows_count: int = 2000, seed: int = 1, words: int = 4000, shuffled: bool = False) -> Path:
    """Write ``rows_count`` alpaca-like rows to a parquet file and return its path; the rest as in `rows`.

    Raises:
        OSError: when the file cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = list(rows(rows_count, seed, words, shuffled))
    table = pyarrow.table({name: [row[name] for row in made] for name in COLUMNS})
    pyarrow.parquet.write_table(table, path)
    return path


def make_tokenizer(folder: Path | str, vocab_size: int = 1000, rows_count: int = 500, seed: int = 1,
                   words: int = 4000, shuffled: bool = False) -> Path:
    """Train a BPE tokenizer of Mixtral's shape and write its files; returns the folder.

    Spaces become ▁, there is no pre-tokenizer, unknown characters fall back to bytes; ids 0, 1, 2 are
    ``<unk>``, ``<s>``, ``</s>`` and ids 3 to 258 the bytes.

    Args:
        folder: where tokenizer.json, tokenizer_config.json and special_tokens_map.json go.
        vocab_size: number of tokens in all, more than the 259 that are always there.
        rows_count: rows of the synthetic data to train on.
        seed: of these rows.
        words: invented words at most.
        shuffled: as in `rows`.

    Raises:
        ValueError: for a vocabulary too small.
    """
    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(f"vocab_size is {vocab_size}, expected more than {len(SPECIAL_TOKENS)} "
                         "(three special tokens and 256 bytes)")
    # One thread: with several, ties between pairs may be broken another way each time.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer: Any = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Only while training, so that no token spans words; Mixtral's tokenizer has no pre-tokenizer.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, show_progress=False)
    tokenizer.train_from_iterator((row["text"] for row in rows(rows_count, seed, words, shuffled)), trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = json.loads(tokenizer.to_str())
    # The bytes are ordinary tokens in Mixtral's file; as special ones they would be matched in the text.
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < 3]
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 10 ** 9, **special}
    for name, content in (("tokenizer.json", described), ("tokenizer_config.json", config),
                          ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return folder
