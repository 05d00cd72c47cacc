"""What the tests of the preprocessor share: tokenizers of several kinds, inputs of several formats, a reader of datasets."""
from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers
from preprocess_data import __main__ as program
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bench import indexed

# A folder, which Python runs.
PROGRAM = Path(__file__).parents[2] / "roles" / "dataset" / "files" / "preprocess_data"
# As role tokenizer sends it: its files by name.
SENT = json.dumps({path.name: path.read_text(encoding="utf-8") for path in PROGRAM.glob("*.py")})
# The tests run with the newest releases, and with those that role conda_env installs. From 0.19 on a Metaspace says whether it
# splits, and older ones know no other than one that does; from 0.20 on merges are pairs.
LIBRARY = tuple(int(part) for part in tokenizers.__version__.split(".")[:2])
# Of hypothesis. With the pinned packages less depends on chance: their releases no longer change.
EXAMPLES = 150 if sys.version_info >= (3, 9) else 50
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def mixtral_like() -> dict[str, Any]:
    """tokenizer.json of Mixtral's shape: byte fallback, spaces replaced, no pre-tokenizer; entries that are runs of ▁."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁]*"), "isolated")
    words = ["the quick brown fox jumps over the lazy dog", "the  quick    brown é漢", "if the:     the dog"] * 9
    made.train_from_iterator(words, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    spec: dict[str, Any] = json.loads(made.to_str())
    spec["pre_tokenizer"] = None  # older releases take no None
    # As in the published file: the bytes are ordinary entries, between the special tokens and the rest.
    vocabulary = spec["model"]["vocab"]
    rest = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if token not in SPECIAL.values()]
    order = ["<unk>", "<s>", "</s>", *[f"<0x{number:02X}>" for number in range(256)], *rest]
    spec["model"]["vocab"] = {token: number for number, token in enumerate(order)}
    assert {"▁▁", "▁▁▁▁", "▁the"} <= set(order)
    return spec


def variant(name: str) -> dict[str, Any]:
    """A tokenizer.json by name; `PIECEWISE` and `WHOLE` list them."""
    spec = mixtral_like()
    model = spec["model"]
    if name.startswith("metaspace"):
        scheme = {"metaspace-never": "never", "metaspace-always": "always"}.get(name, "first")
        spec["normalizer"], spec["pre_tokenizer"] = None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme}
        spec["pre_tokenizer"].update({"split": name.endswith("split")} if LIBRARY >= (0, 19) else {"add_prefix_space": scheme != "never"})
    elif name == "entry-with-a-space-inside":
        add_merge(model, "x", "▁the")
        add_merge(model, "▁", "\n")
    elif name == "added-tokens":
        for number, (text, flags) in enumerate({
            "<pad>": {}, "[INST]": {"lstrip": True, "rstrip": True}, "quick": {"single_word": True, "special": False},
            "▁dog": {"normalized": True, "special": False}, "o v": {"normalized": True, "lstrip": True}, "<|é|>": {"rstrip": True},
        }.items()):
            spec["added_tokens"].append({"id": len(model["vocab"]) + number, "content": text, "single_word": False, "lstrip": False,
                                         "rstrip": False, "normalized": False, "special": True, **flags})
    elif name == "both-ends":
        spec["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
        spec["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    elif name == "no-template":
        spec["post_processor"] = None
    elif name == "replace-alone":
        spec["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    elif name == "old-merges":
        model["merges"] = older(model["merges"])
    elif name == "missing-bytes":
        del model["vocab"]["<0x0A>"]
        model["vocab"]["unused"] = 3 + 10
    elif name == "no-byte-fallback":
        model["byte_fallback"] = False
    elif name == "ignore-merges":
        model["ignore_merges"] = True
    elif name == "merges-of-bytes":
        add_merge(model, "<0x0A>", "<0x0A>")
    elif name == "lower-case":
        spec["normalizer"]["normalizers"].append({"type": "Lowercase"})
    elif name == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.train_from_iterator(["the quick brown fox"] * 9, trainers.BpeTrainer(
            vocab_size=300, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        spec = json.loads(made.to_str())
    else:
        assert name == "prepend", name
    return spec


PIECEWISE = ["prepend", "metaspace", "metaspace-split", "metaspace-never", "metaspace-always", "entry-with-a-space-inside", "added-tokens",
             "both-ends", "no-template", "replace-alone", "old-merges"]
WHOLE = {"missing-bytes": "lacks 1 of 256 bytes", "no-byte-fallback": "no byte fallback", "ignore-merges": "looks up whole texts",
         "merges-of-bytes": "join single bytes", "lower-case": "its normalizer is not", "byte-level": "its vocabulary has no ▁"}
if LIBRARY < (0, 19):
    WHOLE.update({name: "settings are all written down" for name in PIECEWISE if name.startswith("metaspace")})
    PIECEWISE = [name for name in PIECEWISE if name not in WHOLE]


def add_merge(model: dict[str, Any], left: str, right: str) -> None:
    for token in (left, right, left + right):
        model["vocab"].setdefault(token, len(model["vocab"]))
    model["merges"].insert(0, [left, right] if LIBRARY >= (0, 20) else f"{left} {right}")


def older(merges: list[Any]) -> list[str]:
    """Merges as releases before 0.20 write them; later ones read them too."""
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def write_tokenizer(folder: Path, spec: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}))
    return folder


def parquet(path: Path, texts: list[str | None], column: str = "text", kind: Any = None, row_group_size: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"other": list(range(len(texts))), column: pa.array(texts, pa.string()).cast(kind or pa.string())}), path,
                   row_group_size=row_group_size)
    return path


def jsonl(path: Path, texts: list[str | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"other": [1, {}], "text": text}, ensure_ascii=bool(number % 2)) + "\n"
                            for number, text in enumerate(texts)), encoding="utf-8")
    return path


def csv_file(path: Path, texts: list[str | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["other", "text"])
        writer.writerows([[number, text or ""] for number, text in enumerate(texts)])
    return path


def run(source: Path | list[str], tokenizer: Path, prefix: Path, *more: str) -> int:
    words = [str(source)] if isinstance(source, Path) else source
    status: int = program.main(["--input", *words, "--tokenizer-name-or-path", f"{tokenizer}/", "--output-prefix", str(prefix),
                                   "--tokenizer-type", "PretrainedFromHF", *more])
    return status


def read(stem: str) -> list[list[int]]:
    """The documents of a dataset, by a reader that has nothing of the program."""
    made = indexed.Dataset(Path(stem))
    return [made.document(number) for number in range(len(made.lengths))]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(prefix: Path) -> list[bytes]:
    """Data, index and manifest of a dataset."""
    return [Path(f"{prefix}_text_document.{end}").read_bytes() for end in ("bin", "idx", "manifest.json")]
